"""The model card of a trained checkpoint, and the way to the Hugging Face Hub."""

from pathlib import Path

from training.recipe import Recipe


def describe(name: str, recipe: Recipe, provenance: dict[str, str]) -> str:
    """Write the body of a model card: what made the weights.

    Args:
        name: Of the recipe.
        recipe: Settings of the run.
        provenance: Steps, hardware, versions, data and frozen networks of the run.

    Returns:
        Markdown without a YAML header.
    """
    made = "\n".join(f"| {key} | {value} |" for key, value in provenance.items())
    hidden = {"photos", "anime", "out", "start"}
    settings = "\n".join(f"| {key} | {value} |" for key, value in recipe.plain().items() if key not in hidden)
    return (
        f"# {name}\n\nTrained with Nijigen's recipe `{name}`.\n\n## Made by\n\n| | |\n|---|---|\n{made}\n\n"
        f"## Recipe\n\n| setting | value |\n|---|---|\n{settings}\n"
    )


def push(folder: Path, repository: str) -> str:
    """Upload a checkpoint folder to the Hub, making a private repository where there is none.

    Args:
        folder: Holds config.json, model.safetensors and README.md.
        repository: "owner/name".

    Returns:
        Link to the commit.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repository, private=True, exist_ok=True)
    return api.upload_folder(
        repo_id=repository, folder_path=folder, commit_message=f"Checkpoint {folder.name}"
    ).commit_url
