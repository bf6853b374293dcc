"""Writes what comes from the code, pages and a picture; `--check` fails where one is stale."""

import argparse
import sys
from pathlib import Path

from cli_page import cli_page
from picture import picture
from tasks_page import tasks_page

PAGES = {"cli.md": cli_page, "tasks.md": tasks_page, "picture.svg": picture}
FOLDER = Path(__file__).parent


def main() -> int:
    """Returns 1 where `--check` finds a page stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    is_check = parser.parse_args().check
    status = 0
    for name, page in PAGES.items():
        path, text = FOLDER / name, page()
        if not is_check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"stale: docs/{name}; run 'make docs'", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
