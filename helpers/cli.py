"""The command line: ``python -m helpers COMMAND``.

Commands: doctor, data, run, params, select, retention, finetune, book.
"""

import argparse
import errno
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.errors import UserError
from helpers.paths import beside

FULL, UNWRITABLE = (errno.ENOSPC, errno.EDQUOT), (errno.EACCES, errno.EPERM, errno.EROFS)
# What torch says where a file could not be written to its end.
TORCH_SAYS = ("PytorchStreamWriter", "inline_container", "file write failed")

if TYPE_CHECKING:
    from helpers.own_model.retention import Comparison


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status (2: something the user can mend)."""
    if hasattr(sys.stdout, "reconfigure"):  # a terminal may know fewer letters than names have
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            return _command(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; what is left has nowhere to go.
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 0


def _command(arguments: list[str] | None) -> int:
    options = _parser().parse_args(arguments)
    _make_folders_absolute()
    try:
        return options.command(options) or 0
    except UserError as error:
        message = str(error)
    except (OSError, RuntimeError) as error:
        if not (message := _of_the_disk(error)):
            raise
    print(f"error: {message}", file=sys.stderr)
    return 2


def _of_the_disk(error: OSError | RuntimeError) -> str:
    """What to say where a file could not be written; empty if it is something else."""
    number, name = getattr(error, "errno", None), getattr(error, "filename", None)
    if number in FULL or any(text in str(error) for text in TORCH_SAYS):
        return (
            f"{name or 'the disk'}: no room is left. What was written before is kept: make room "
            "and give the same command again, and it goes on from there."
        )
    if number in UNWRITABLE:
        return (
            f"{name or 'a file'}: {error.strerror}. Check its permissions, or name folders in "
            "which you may write: --out, or in the environment BOOK_RUNS_DIR and BOOK_DATA_DIR."
        )
    return ""


def _make_folders_absolute() -> None:
    """Folders named in the environment are meant from here; a notebook runs somewhere else."""
    for name in ("BOOK_DATA_BUNDLE", "BOOK_DATA_DIR", "BOOK_RUNS_DIR"):
        if os.environ.get(name):
            os.environ[name] = str(Path(os.environ[name]).expanduser().resolve())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m helpers", description=__doc__.splitlines()[2])
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_doctor(commands)
    _add_data(commands)
    _add_run(commands)
    _add_params(commands)
    _add_select(commands)
    _add_retention(commands)
    _add_finetune(commands)
    _add_book(commands)
    return parser


def _folder(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    doctor = commands.add_parser("doctor", help="check Python, packages, device, memory, data")
    doctor.set_defaults(command=_doctor)


def _add_data(commands: argparse._SubParsersAction) -> None:
    data = commands.add_parser("data", help="list, fetch or check data sets and weights")
    actions = data.add_subparsers(required=True, metavar="list|fetch|check")
    listing = actions.add_parser("list", help="what the manifest holds and what is here")
    listing.set_defaults(command=_data_list)
    fetch = actions.add_parser("fetch", help="get data sets or weights by name")
    fetch.add_argument("names", nargs="+", metavar="NAME")
    fetch.add_argument(
        "--accept-licence",
        action="append",
        default=[],
        metavar="NAME",
        help="accept the licence of this data set (repeat for several)",
    )
    fetch.set_defaults(command=_data_fetch)
    check = actions.add_parser("check", help="read every image and print what is there")
    check.add_argument("names", nargs="*", metavar="NAME", help="default: all that have a reader")
    check.add_argument("--json", action="store_true", help="print JSON instead of a table")
    check.set_defaults(command=_data_check)


def _add_chapter_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("chapter", metavar="CHAPTER")
    parser.add_argument("--profile", default="laptop", help="smoke, laptop, real, gpu or paper")
    parser.add_argument(
        "-p",
        "--parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a parameter, for instance -p rates=[0.1,1.0]; what is not text is YAML",
    )


def _add_run(commands: argparse._SubParsersAction) -> None:
    run = commands.add_parser("run", help="run a chapter with a profile")
    _add_chapter_options(run)
    run.add_argument("--force", action="store_true", help="run even if nothing has changed")
    run.add_argument(
        "--record", action="store_true", help="keep numbers and record in book/results/recorded"
    )
    run.set_defaults(command=_run)


def _add_params(commands: argparse._SubParsersAction) -> None:
    params = commands.add_parser("params", help="print a chapter's parameters for papermill")
    _add_chapter_options(params)
    params.add_argument("--describe", action="store_true", help="what each parameter means")
    params.set_defaults(command=_params)


def _add_select(commands: argparse._SubParsersAction) -> None:
    select = commands.add_parser("select", help="which images of a folder to annotate first")
    add = select.add_argument
    add("folder", type=_folder, metavar="FOLDER", help="with TIFF, PNG, JPEG or BMP images")
    add("--budget", type=int, default=20, metavar="N", help="how many can be annotated")
    add("--method", default="dq", help="dq, dq-official, dq-graphcut, facility-location, k-center, "
        "herding, stratified or random")  # fmt: skip
    add("--patches", action="store_true", help="choose patches instead of whole images")
    add("--patch-size", type=int, default=224, metavar="PX", help="side of the patches")
    add("--stride", type=int, metavar="PX", help="step between patches; default: their side")
    add("--features", default="descriptor", help="descriptor (seconds), mae (trains a small "
        "network on your images), mae-vit-base, lunit-dino-vits16, lunit-dino-vits8, timm:NAME or "
        "timm:NAME=WEIGHTS")  # fmt: skip
    add("--bins", type=int, default=10, metavar="N", help="bins of dataset quantization")
    add("--out", type=_folder, metavar="DIR", help="default: FOLDER-selection beside the folder")
    add("--seed", type=int, default=0)
    add("--device", default="auto", help="auto, cpu, cuda or mps, for features from networks")
    select.set_defaults(command=_select)


def _add_retention(commands: argparse._SubParsersAction) -> None:
    retention = commands.add_parser(
        "retention", help="what a fine-tuned Cellpose 3 model forgot on labelled images"
    )
    add = retention.add_argument
    add("--model", required=True, metavar="CHECKPOINT", help="after fine-tuning")
    add("--before", required=True, metavar="CHECKPOINT", help="before fine-tuning")
    add("--data", required=True, nargs="+", metavar="FOLDER", help="folders with NAME.tif and "
        "NAME_masks.tif, or names of data sets")  # fmt: skip
    add("--diameter", type=float, nargs="+", default=[], metavar="PX", help="of the objects, one "
        "for all data or one for each; default: each model's own (diam_labels)")  # fmt: skip
    add("--limit", type=int, default=0, metavar="N", help="at most N images of each")
    add("--out", type=_folder, metavar="DIR", help="default: CHECKPOINT-retention beside the model")
    add("--seed", type=int, default=0)
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    retention.set_defaults(command=_retention)


def _add_finetune(commands: argparse._SubParsersAction) -> None:
    finetune = commands.add_parser(
        "finetune", help="fine-tune a Cellpose 3 model and replay old images against forgetting"
    )
    add = finetune.add_argument
    add("--model", required=True, metavar="CHECKPOINT", help="to start from, or random:WIDTH")
    add("--target", required=True, metavar="FOLDER", help="new images, with masks")
    add("--replay", required=True, metavar="FOLDER", help="old images, with masks")
    add("--share", type=float, help="of each batch that is replayed; default: 0.1")
    add("--setting", default="controlled", help="controlled (a fixed share of each batch) or "
        "appended (old patches are added to the new ones)")  # fmt: skip
    add("--select", default="random", metavar="METHOD", help="which old patches are replayed: "
        "random, dq, facility-location, k-center ... as for the command select")  # fmt: skip
    add("--rate", type=float, default=1.0, metavar="R", help="share of the old patches to replay")
    add("--steps", type=int, default=300)
    add("--learning-rate", type=float, default=0.05)
    add("--batch-size", type=int, default=8)
    add("--patch-size", type=int, default=224, metavar="PX", help="side of the training patches")
    add("--diameter", type=float, metavar="PX", help="of the new objects; default: the model's "
        "own (diam_labels)")  # fmt: skip
    add("--test-share", type=float, default=0.2, help="of each folder's images, held out")
    add("--replay-diameter", type=float, metavar="PX", help="of the old ones; default: the same")
    add("--out", type=_folder, metavar="DIR", help="default: TARGET-finetuned beside the folder")
    add("--seed", type=int, default=0)
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    finetune.set_defaults(command=_finetune)


def _add_book(commands: argparse._SubParsersAction) -> None:
    book = commands.add_parser("book", help="run all chapters as needed and build the book")
    book.add_argument("--profile", default="laptop")
    book.add_argument("--jobs", type=int, default=0, metavar="N", help="chapters at a time; "
        "default: 2, or 1 on a GPU, one core or less than 6 GB of memory")  # fmt: skip
    book.set_defaults(command=_book)


def _doctor(options: argparse.Namespace) -> int:
    from helpers.doctor import examine, format_findings

    findings = examine()
    print(format_findings(findings))
    return 0 if all(finding.ok for finding in findings) else 1


def _data_list(options: argparse.Namespace) -> None:
    from helpers.data.listing import list_entries

    print(list_entries())


def _data_fetch(options: argparse.Namespace) -> None:
    from helpers.data.fetch import locate

    for name in options.names:
        found = locate(name, accept_licences=frozenset(options.accept_licence))
        share = "complete" if found.complete else f"a subset: {found.coverage}"
        print(f"{name}: {found.root} ({found.source}, {share})")


def _data_check(options: argparse.Namespace) -> int:
    from helpers.data.check import check_all, format_table

    reports = check_all(options.names)
    if options.json:
        print(json.dumps([report.as_dict() for report in reports], indent=1))
    else:
        print(format_table(reports))
    return 1 if any(report.problems for report in reports) else 0


def _run(options: argparse.Namespace) -> None:
    from helpers.book.runner import record_run, run_chapter

    run = run_chapter(options.chapter, options.profile, _overrides(options), options.force)
    state = "unchanged, reused" if run.reused else f"done in {run.record['duration_s']:.0f} s"
    print(f"{options.chapter} ({options.profile}): {state}\n{run.folder}")
    if options.record:
        for path in record_run(run):
            print(f"recorded: {path}")


def _overrides(options: argparse.Namespace) -> dict[str, Any]:
    from helpers.book.parameters import parse_overrides
    from helpers.book.registry import find_chapter

    chapter = find_chapter(options.chapter)
    return parse_overrides(options.parameter, chapter.schema) if options.parameter else {}


def _params(options: argparse.Namespace) -> None:
    import yaml

    from helpers.book.parameters import describe_type
    from helpers.book.registry import find_chapter

    chapter = find_chapter(options.chapter)
    parameters = chapter.parameters(options.profile, _overrides(options))
    if options.describe:
        for name, field in chapter.schema.model_fields.items():
            print(f"{name} ({describe_type(field.annotation)}): {field.description}")
    else:
        print(yaml.safe_dump(parameters.model_dump(), sort_keys=False), end="")


def _select(options: argparse.Namespace) -> None:
    from helpers.annotate.candidates import Cut
    from helpers.annotate.choose import Request, choose
    from helpers.annotate.maps import write_maps
    from helpers.annotate.report import in_words, write_report

    size = options.patch_size if options.patches else 0
    cut = Cut(size, options.patch_size if options.stride is None else options.stride)
    request = Request(
        folder=options.folder,
        output=options.out or beside(options.folder, "selection"),
        budget=options.budget,
        method=options.method,
        cut=cut,
        features=options.features,
        n_bins=options.bins,
        seed=options.seed,
        device=options.device,
    )
    choice = choose(request)
    write_report(choice)
    write_maps(choice)
    print(f"{in_words(choice)}\n\nResults: {request.output}")


def _retention(options: argparse.Namespace) -> None:
    from helpers.own_model.retention import Request, retention

    request = Request(
        model=options.model,
        before=options.before,
        data=tuple(options.data),
        output=options.out or beside(Path(options.model.replace(":", "-")), "retention"),
        diameters=tuple(options.diameter),
        limit=options.limit,
        seed=options.seed,
        device=options.device,
    )
    _report(retention(request))


def _finetune(options: argparse.Namespace) -> None:
    from helpers.annotate.choose import METHODS
    from helpers.own_model.finetune import Settings, finetune
    from helpers.own_model.report import how_to_load

    if options.select not in METHODS:
        raise UserError(f"--select {options.select}: expected one of {', '.join(METHODS)}")
    settings = Settings(
        model=options.model,
        target=options.target,
        replay=options.replay,
        output=options.out or beside(Path(options.target.removeprefix("folder:")), "finetuned"),
        setting=options.setting,
        share=options.share,
        method=METHODS[options.select],
        rate=options.rate,
        steps=options.steps,
        learning_rate=options.learning_rate,
        batch_size=options.batch_size,
        patch_size=options.patch_size,
        diameter=options.diameter,
        replay_diameter=options.replay_diameter,
        test_share=options.test_share,
        seed=options.seed,
        device=options.device,
    )
    comparison = finetune(settings)
    _report(comparison)
    print(f"\n{how_to_load(comparison)}")


def _report(comparison: "Comparison") -> None:
    from helpers.own_model.figure import write_figure
    from helpers.own_model.report import FIGURE, in_words, write_report

    rows = write_report(comparison)
    write_figure(rows, comparison.output / FIGURE)
    print(f"{in_words(comparison, rows)}\n\nResults: {comparison.output}")


def _book(options: argparse.Namespace) -> int:
    from helpers.book.build import make_book

    return make_book(options.profile, options.jobs)
