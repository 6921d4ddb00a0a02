"""The plan: what a settled recipe will load, train, write and need."""

from runner.plan.disk import shortfall
from runner.plan.numbers import Plan, plan
from runner.plan.render import render
from runner.plan.room import shortage

__all__ = ["Plan", "plan", "render", "shortage", "shortfall"]
