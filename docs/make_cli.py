"""Write docs/cli.md from the command line's parser: python docs/make_cli.py"""

from __future__ import annotations

import argparse
from pathlib import Path

from bids_encoder.app.cli import EPILOG, build_parser

PAGE = Path(__file__).with_name("cli.md")
HEAD = """\
# The command line

```
bids-encoder BIDS_DIR OUTPUT_DIR {participant,group} [options]
```

`python run.py` and the container take the same. This page is made by `docs/make_cli.py` from the
parser. Every name with dashes also goes with underscores (`--participant_label`); `--config-file`
takes the same options as TOML, one table a section, as every run writes it into
`sub-XX/log/RUN/config.toml`.
"""


def page() -> str:
    """The page as it should be."""
    parts = [HEAD]
    for group in build_parser()._action_groups:
        actions = [action for action in group._group_actions if action.option_strings]
        if not actions:
            continue
        title = "General" if group.title in ("options", "optional arguments") else group.title
        parts.append(f"## {title}\n")
        parts.append("| Option | What it does |\n| --- | --- |")
        parts.extend(_row(action) for action in actions)
        parts.append("")
    parts.append("## Exit codes\n\n```\n" + EPILOG.partition("\n")[2].rstrip() + "\n```\n")
    return "\n".join(parts)


def _row(action: argparse.Action) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    text = (action.help or "").replace("%%", "%").replace("|", "\\|").replace("<", "&lt;")
    return f"| {names}{_value(action)} | {text} |"


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.choices:
        name = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        name = action.metavar or action.dest.rpartition(".")[2].upper()
        name = " ".join(name) if isinstance(name, tuple) else name
    if action.nargs == "+":
        name += " …"
    return f" `{name}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
