"""Every security row of the corpus in one process under the audit hook.

    python -P -m tests.security.rows LOG FOLDER

makes an empty working directory below FOLDER for each case; how a case must end is checked as the table does.
"""

import os
import sys
from pathlib import Path

from tests.security.watch import watch

if __name__ == "__main__":
    watch(sys.argv[1])
    from tests.corpus import rows_security  # noqa: F401 - enters its cases in the table
    from tests.corpus.table import CASES

    for number, case in enumerate(CASES):
        place = Path(sys.argv[2], str(number))
        place.mkdir()
        os.chdir(place)
        os.environ["XDG_CACHE_HOME"] = str(place / "cache")
        case.check(case.run(place))
    print(f"{len(CASES)} cases")
