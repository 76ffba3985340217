"""Easel: `python3 launch.py` sets everything up and opens the studio; `python3 launch.py --help` names the rest.

This file must be readable by every Python there is, so that an old one gets a sentence and not a syntax error.
"""

import sys


def main():  # type: ignore[no-untyped-def]
    """Say so where Python is too old; otherwise hand over to engine.launcher."""
    if sys.version_info < (3, 11):  # noqa: UP036  this is the very check
        version = ".".join(str(part) for part in sys.version_info[:3])
        sys.stderr.write(
            "Easel needs Python 3.11 or newer, and this is Python "
            + version
            + ". Install a newer one from https://www.python.org/downloads/ and start Easel with it.\n"
        )
        return 1
    from engine.launcher.main import run_launcher

    return run_launcher(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
