"""What stands behind the built-in flowers: soft skies, meadows and gardens."""

from collections.abc import Callable

import numpy as np

from runner.data.brush import Canvas
from runner.data.scene import Dice
from runner.data.shapes import Floats


def _rgb(red: int, green: int, blue: int) -> Floats:
    return np.array([red, green, blue], np.float32) / 255


def _gradient(canvas: Canvas, stops: list[tuple[float, tuple[int, int, int]]]) -> None:
    """Fill the canvas from stops of (height, colour), lowest first."""
    heights = [height for height, _ in stops]
    column = canvas.y[:, 0]
    for channel in range(3):
        values = [colour[channel] / 255 for _, colour in stops]
        canvas.rgb[..., channel] = np.interp(column, heights, values)[:, None]


def _glow(canvas: Canvas, x: float, y: float, size: float, colour: Floats, strength: float) -> None:
    """Light that fades as a Gaussian of standard deviation `size`."""
    across = np.exp(-0.5 * ((canvas.x - x) / size) ** 2)
    up = np.exp(-0.5 * ((canvas.y - y) / size) ** 2)
    canvas.rgb += (colour - canvas.rgb) * (up * (across * strength))[..., None]


def _hills(canvas: Canvas, dice: Dice, height: float, top: Floats, foot: Floats, soft: float = 0.03) -> None:
    """Rolling ground up to about `height`, shaded from `top` down to `foot`."""
    phase, swell = dice.between(0, 6.3), dice.between(0.02, 0.07)
    edge = height + swell * np.sin(canvas.x * dice.between(1.5, 3) + phase)
    edge = edge + swell * 0.4 * np.sin(canvas.x * dice.between(4, 6) + 2 * phase)
    alpha = np.clip((edge - canvas.y) / max(soft, canvas.pixel) + 0.5, 0, 1)
    fade = np.clip((height - canvas.y) / (height + 1), 0, 1)[..., None]
    canvas.rgb += (top + (foot - top) * fade - canvas.rgb) * alpha[..., None]


def _clouds(canvas: Canvas, dice: Dice, colour: Floats, strength: float) -> None:
    """A few heaps of soft puffs with flat feet."""
    cover = np.zeros_like(canvas.cover)
    for _ in range(dice.whole(2, 3)):
        x, y, size = dice.between(-1, 1), dice.between(0.1, 0.8), dice.between(0.7, 1.2)
        aside = np.array([dice.between(-1, 1) for _ in range(9)], np.float32)
        puff = size * (1.3 - np.abs(aside)) * np.array([dice.between(0.07, 0.12) for _ in range(9)], np.float32)
        across = np.exp(-(((canvas.x.T - x - size * 0.3 * aside) / puff) ** 2))
        up = np.exp(-(((canvas.y - y - puff * 0.5) / puff) ** 2)) / (1 + np.exp((y - canvas.y) * 28))
        cover += np.einsum("yk,xk->yx", up, across)  # a round Gaussian is a product of two
    alpha = np.clip(cover * 1.5 - 0.2, 0, 1)
    canvas.blend(alpha * alpha * (3 - 2 * alpha) * strength, colour)


def _bokeh(canvas: Canvas, dice: Dice, colours: list[Floats], count: int, low: float, high: float, big: float) -> None:
    """Out-of-focus lights between two heights."""
    for _ in range(count):
        x, y, radius = dice.between(-1.1, 1.1), dice.between(low, high), dice.between(0.3, 1) * big
        canvas.disc(x, y, radius, dice.pick(colours), dice.between(0.1, 0.4), soft=radius * 0.35)


def _sky(canvas: Canvas, dice: Dice) -> None:
    _gradient(canvas, [(-0.5, (226, 241, 250)), (-0.1, (168, 212, 244)), (0.4, (104, 174, 235)), (1, (52, 128, 212))])
    _clouds(canvas, dice, _rgb(255, 255, 255), 0.92)
    _hills(canvas, dice, -0.42, _rgb(132, 184, 150), _rgb(96, 160, 96), 0.04)
    _hills(canvas, dice, -0.6, _rgb(136, 192, 82), _rgb(52, 112, 42), 0.06)
    _bokeh(canvas, dice, [_rgb(235, 240, 150), _rgb(250, 250, 240)], 14, -1, -0.68, 0.06)


def _sunset(canvas: Canvas, dice: Dice) -> None:
    _gradient(
        canvas,
        [
            (-0.5, (255, 206, 120)),
            (-0.2, (252, 156, 92)),
            (0.2, (226, 100, 100)),
            (0.6, (140, 66, 122)),
            (1, (66, 44, 108)),
        ],
    )
    x = dice.between(-0.75, 0.75)
    _glow(canvas, x, -0.32, 0.5, _rgb(255, 226, 140), 0.7)
    canvas.disc(x, -0.32, 0.17, _rgb(255, 246, 205), 0.95, soft=0.03)
    _clouds(canvas, dice, _rgb(255, 186, 160), 0.5)
    _hills(canvas, dice, -0.45, _rgb(134, 62, 84), _rgb(90, 42, 72), 0.03)
    _hills(canvas, dice, -0.65, _rgb(74, 40, 56), _rgb(28, 18, 34), 0.05)


def _dawn(canvas: Canvas, dice: Dice) -> None:
    _gradient(canvas, [(-0.6, (255, 226, 206)), (-0.2, (250, 208, 212)), (0.3, (206, 182, 226)), (1, (136, 136, 206))])
    _glow(canvas, dice.between(-0.7, 0.7), -0.3, 0.6, _rgb(255, 240, 216), 0.7)
    _clouds(canvas, dice, _rgb(255, 228, 232), 0.55)
    _hills(canvas, dice, -0.35, _rgb(186, 166, 204), _rgb(214, 190, 210), 0.05)
    _hills(canvas, dice, -0.5, _rgb(150, 146, 178), _rgb(166, 170, 170), 0.05)
    _hills(canvas, dice, -0.7, _rgb(118, 140, 124), _rgb(58, 92, 76), 0.06)


def _garden(canvas: Canvas, dice: Dice) -> None:
    _gradient(canvas, [(-1, (14, 44, 24)), (-0.2, (30, 84, 40)), (0.5, (62, 128, 54)), (1, (112, 168, 76))])
    side = dice.pick((-1, 1))
    _glow(canvas, side * 0.7, 0.9, 0.6, _rgb(216, 236, 140), 0.6)
    _glow(canvas, -side * 0.9, 0.1, 0.4, _rgb(12, 50, 34), 0.6)
    leafy = [_rgb(150, 205, 90), _rgb(60, 140, 60), _rgb(196, 226, 120), _rgb(20, 70, 40)]
    _bokeh(canvas, dice, leafy, 20, -1, 1, 0.24)


def _night(canvas: Canvas, dice: Dice) -> None:
    _gradient(canvas, [(-0.6, (66, 84, 140)), (-0.1, (38, 52, 108)), (0.5, (20, 28, 74)), (1, (10, 14, 46))])
    x, y = dice.pick((-1, 1)) * dice.between(0.6, 0.8), dice.between(0.6, 0.78)
    for _ in range(28):
        size = dice.between(0.003, 0.011)
        bright = dice.between(0.3, 1) * min(1.0, size / canvas.pixel * 2)
        canvas.disc(dice.between(-1, 1), dice.between(-0.3, 1), size, _rgb(235, 240, 255), bright, soft=size)
    _glow(canvas, x, y, 0.3, _rgb(150, 170, 226), 0.55)
    canvas.disc(x, y, 0.14, _rgb(250, 246, 226), 0.98, soft=0.015)
    canvas.disc(x + 0.04, y + 0.03, 0.04, _rgb(226, 222, 206), 0.7, soft=0.03)
    _hills(canvas, dice, -0.45, _rgb(30, 44, 88), _rgb(24, 36, 70), 0.03)
    _hills(canvas, dice, -0.66, _rgb(18, 34, 48), _rgb(6, 12, 22), 0.05)


def _wall(canvas: Canvas, dice: Dice) -> None:
    _gradient(canvas, [(-1, (70, 70, 78)), (0, (112, 113, 120)), (1, (84, 86, 96))])
    slope, start = dice.pick((-1, 1)) * dice.between(0.5, 0.8), dice.between(-0.5, 0.1)
    across = canvas.y - slope * canvas.x - start
    for edge in (0.0, 0.75):  # two panes of a window let the light in
        beam = 1 / (1 + np.exp((np.abs(across - edge) - 0.3) * 24))
        canvas.blend(beam * 0.35, _rgb(214, 206, 194))
    _glow(canvas, dice.between(-0.3, 0.3), dice.between(0, 0.3), 0.6, _rgb(190, 190, 190), 0.5)


def _sea(canvas: Canvas, dice: Dice) -> None:
    _gradient(canvas, [(-0.2, (255, 244, 224)), (0.2, (206, 236, 240)), (1, (110, 196, 226))])
    _clouds(canvas, dice, _rgb(255, 255, 255), 0.85)
    level = -0.2
    _water(canvas, dice, level)
    _hills(canvas, dice, -0.78, _rgb(246, 226, 184), _rgb(206, 170, 122), 0.04)


def _water(canvas: Canvas, dice: Dice, level: float) -> None:
    """Water up to `level`, light where it is far, with glints that lie flatter the further they are."""
    depth = np.clip((level - canvas.y) / (level + 1), 0, 1)
    alpha = np.clip((level - canvas.y) / max(0.01, canvas.pixel) + 0.5, 0, 1)
    far, near = _rgb(40, 150, 190), _rgb(70, 206, 200)
    canvas.rgb += (far + (near - far) * depth[..., None] - canvas.rgb) * alpha[..., None]
    waves = np.sin(60 * np.sqrt(depth) + 2 * np.sin(canvas.x * 3 + dice.between(0, 6)) + canvas.x * dice.between(-4, 4))
    waves = waves + 0.5 * np.sin(canvas.x * 9 + 40 * depth)
    glints = np.clip(waves - 0.6, 0, 1) * alpha * (0.3 + 0.4 * depth)
    canvas.blend(glints, _rgb(236, 255, 250))


_PAINTERS: dict[str, Callable[[Canvas, Dice], None]] = {
    "under a blue sky": _sky,
    "at sunset": _sunset,
    "at dawn": _dawn,
    "in a green garden": _garden,
    "by the sea": _sea,
    "on a moonlit night": _night,
    "against a grey wall": _wall,
}
# The colour of the light that falls on the flower there; white elsewhere.
LIGHT: dict[str, tuple[float, float, float]] = {
    "at sunset": (1.0, 0.93, 0.86),
    "at dawn": (1.0, 0.97, 0.99),
    "on a moonlit night": (0.95, 0.96, 1.0),
}


def paint(canvas: Canvas, place: str, dice: Dice) -> None:
    """Fill the canvas with one of `runner.data.scene.PLACES`."""
    _PAINTERS[place](canvas, dice)


def vignette(canvas: Canvas) -> None:
    """Darken the corners of a finished picture a little."""
    away = canvas.x**2 + canvas.y**2
    canvas.rgb *= 1 - 0.18 * np.clip(away - 0.5, 0, 2)[..., None]
