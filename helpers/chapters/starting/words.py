"""What the chapters on starting points say of their data and encoders, put together by the code."""

from collections.abc import Mapping

from helpers.chapters.starting.run import Tasks

# The paper's numbers beside the official ones.
DIFFERENCES = {
    "glas": "the paper counts 88 training images, the official release 85, whose split shares "
    "patients between training and test: here patients are split",
    "crag": "the paper counts 160 training images, the official release 173",
    "tnbc": "the paper's split into 34 and 16 images is not official: here patients are split",
}
MEANINGS = {
    "random": "random weights, another draw for every run",
    "supervised-natural": "classification of generated everyday pictures, trained here",
    "barlow-natural": "Barlow Twins on generated everyday pictures, trained here",
    "barlow-tissue": "Barlow Twins on patches of the training images, without their annotation, "
    "trained here",
    "imagenet-v1": "torchvision's supervised weights, top-1 76.13",
    "imagenet-v2": "torchvision's supervised weights, top-1 80.86",
    "barlow-imagenet": "Barlow Twins on ImageNet, published",
    "barlow-pathology": "Barlow Twins on histology, published (non-commercial)",
    "moco-imagenet": "MoCo v2 on ImageNet, 800 epochs, published (non-commercial)",
    "moco-imagenet-200": "MoCo v2 on ImageNet, 200 epochs, published (non-commercial)",
    "moco-pathology": "MoCo v2 on histology, published (non-commercial)",
    "swav-pathology": "SwAV on histology, published (non-commercial)",
}


def describe_data(tasks: Tasks) -> str:
    """Images, groups and sizes of every data set, and where the paper's numbers differ."""
    lines = []
    for name, task in tasks.items():
        parts = ", ".join(
            f"{images} {part} ({groups} {'group' if groups == 1 else 'groups'})"
            for part, (images, groups) in task.counts.items()
        )
        low, high = task.sizes
        span = "x".join(map(str, low)) + ("" if low == high else f" to {'x'.join(map(str, high))}")
        doubt = DIFFERENCES.get(name.partition(":")[0])
        lines.append(f"- **{name}**: {parts}; {span} pixels" + (f"; {doubt}" if doubt else ""))
    return "Images, and groups (patients, slides or sources) that no split tears apart:\n\n" + (
        "\n".join(lines)
    )


def describe_starts(starts: Mapping[str, object], pretrainings: Mapping[str, dict]) -> str:
    """What each start is, and what its pretraining took."""
    lines = []
    for name in starts:
        what = MEANINGS.get(name, "weights of your own")
        took = pretrainings.get(name)
        spent = f" ({took['train_seconds']:.0f} s)" if took else ""
        lines.append(f"- `{name}`: {what}{spent}")
    return "\n".join(lines)
