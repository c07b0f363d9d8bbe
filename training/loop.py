"""The one training loop: steps, precision, moving average, log, checkpoints, processes; it never names a loss."""

import copy
import json
import logging
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs

from models import image, registry
from models.registry import CheckpointError
from training import checkpoint, hub, plot
from training.data import Data
from training.objective import Batch, Objective, Phase
from training.recipe import Recipe, RecipeError

log = logging.getLogger(__name__)
STATE, LOG, SAMPLES = "state.safetensors", "log.jsonl", 6
LOG_EVERY = 10


class Run:
    """One execution of a recipe in its folder.

    Args:
        name: Of the recipe.
        recipe: Settings.
        objective: Networks, buffers and phases; its networks are wrapped in place.
        data: Where batches come from.
    """

    def __init__(self, name: str, recipe: Recipe, objective: Objective, data: Data) -> None:
        ddp = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
        self.accelerator = Accelerator(mixed_precision=recipe.precision, kwargs_handlers=[ddp])
        self.name, self.recipe, self.objective, self.data = name, recipe, objective, data
        self.folder, self.step, self.seconds = recipe.out, 0, 0.0
        self.earlier: dict[str, Any] = {"steps": 0, "seconds": 0.0}  # what was done before this run
        self.place()
        self.optimizers = {phase.name: self.optimizer(phase) for phase in objective.phases}

    def place(self) -> None:
        """Move networks to the device, start the moving average, and wrap the networks for several processes."""
        networks = self.objective.networks
        for module in (*networks.values(), self.objective.buffers, self.objective.frozen):
            module.to(self.accelerator.device).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(networks[self.objective.averaged]).eval().requires_grad_(False)
        self.modules = {**networks, "buffers": self.objective.buffers, "average": self.average}
        for name, network in networks.items():
            if self.recipe.compile:
                network.compile()
            networks[name] = self.accelerator.prepare_model(network.train())

    def optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        """Make the Adam of one phase."""
        weights = [weight for name in phase.moves for weight in self.modules[name].parameters()]
        return torch.optim.Adam(weights, lr=phase.optimizer.rate, betas=phase.optimizer.betas)

    def train(self) -> None:
        """Take all steps that are left, from the run folder's state where there is one."""
        self.resume()
        while self.step < self.recipe.steps:
            begun = time.perf_counter()
            batch = self.batch(self.step)
            terms = {
                phase.name: self.update(phase, batch) for phase in self.objective.phases if phase.active(self.step)
            }
            self.follow()
            self.step += 1
            self.seconds += time.perf_counter() - begun
            if self.step % LOG_EVERY == 0:
                self.record(terms, time.perf_counter() - begun)
            if self.step % self.recipe.save_every == 0 or self.step == self.recipe.steps:
                self.save()

    def batch(self, step: int) -> Batch:
        """This process's batch of a step, on the device."""
        accelerator = self.accelerator
        batch = self.data.batch(step, rank=accelerator.process_index, world=accelerator.num_processes)
        return {name: images.to(accelerator.device) for name, images in batch.items()}

    def update(self, phase: Phase, batch: Batch) -> dict[str, float]:
        """Take one optimiser step of one phase and give its terms."""
        for name in self.objective.networks:
            self.modules[name].requires_grad_(name in phase.moves)
        optimizer = self.optimizers[phase.name]
        optimizer.zero_grad(set_to_none=True)
        with self.accelerator.autocast():
            terms = phase.loss(batch)
        total = torch.stack(list(terms.values())).sum()
        values = {name: float(term.detach()) for name, term in terms.items()}
        if not torch.isfinite(total):
            raise RecipeError(
                f"step {self.step}: a loss of phase {phase.name!r} is not finite ({values}); the state of the last "
                f"checkpoint is intact in {self.folder}: continue it with a lower rate or --precision no."
            )
        self.accelerator.backward(total)
        optimizer.step()
        return values

    @torch.no_grad()
    def follow(self) -> None:
        """Move the average towards the network, faster at the start; keep shared buffers equal across processes."""
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        network = self.modules[self.objective.averaged]
        torch._foreach_lerp_(list(self.average.parameters()), list(network.parameters()), 1 - decay)
        for kept, current in zip(self.average.buffers(), network.buffers(), strict=True):
            kept.copy_(current)
        if self.accelerator.num_processes > 1:
            for buffer in self.objective.buffers.buffers():
                mean = self.accelerator.reduce(buffer.double(), "mean")
                assert isinstance(mean, torch.Tensor)
                buffer.copy_(mean)

    def record(self, terms: dict[str, dict[str, float]], seconds: float) -> None:
        """Append one line to the log."""
        if not self.accelerator.is_main_process:
            return
        line = {"step": self.step, "seconds": round(seconds, 4), "elapsed": round(self.seconds, 1), **terms}
        with (self.folder / LOG).open("a", encoding="utf-8") as target:
            target.write(json.dumps(line) + "\n")
        sums = {name: round(sum(values.values()), 4) for name, values in terms.items()}
        log.info("step %d of %d, %.2f s: %s", self.step, self.recipe.steps, seconds, sums)

    def resume(self) -> None:
        """Continue the run in the folder, or start one: from the weights of `recipe.start` where that is given."""
        state = self.folder / STATE
        self.folder.mkdir(parents=True, exist_ok=True)
        parts = {"modules": self.modules, "optimizers": self.optimizers}
        if state.is_file():
            header = checkpoint.load(state, **parts, fingerprint=self.recipe.fingerprint())
            self.step, self.seconds = int(header["step"]), float(header["seconds"])
            self.earlier = json.loads(header["earlier"])
            self.rewind()
        elif self.recipe.start is not None:
            self.go_on(self.recipe.start)
        if self.accelerator.is_main_process:
            checkpoint.write_json(self.folder / "recipe.json", {"recipe": self.name, **self.recipe.plain()})

    def go_on(self, start: Path) -> None:
        """Take the networks of another run and add up its steps and time, or the published part of a checkpoint."""
        if (start / "model.safetensors").is_file():
            self.earlier["checkpoint_sha256"] = self.adopt(start / "model.safetensors")
            return
        header = checkpoint.networks(start / STATE if start.is_dir() else start, self.modules)
        self.earlier = json.loads(header["earlier"])
        self.earlier["steps"] += int(header["step"])
        self.earlier["seconds"] += float(header["seconds"])

    def adopt(self, published: Path) -> str:
        """Fill the averaged network and its average from published weights, and give their checksum."""
        tensors, _ = checkpoint.read(published)
        for network in (self.modules[self.objective.averaged], self.average):
            try:
                self.objective.adopt(network, tensors)
            except RuntimeError as error:
                reason = str(error).splitlines()[-1].strip()
                raise CheckpointError(f"{published} does not fit recipe {self.name!r}: {reason}") from error
        return registry.checksum(published)

    def rewind(self) -> None:
        """Drop log lines later than the state that the run continues from: they will be written again."""
        path = self.folder / LOG
        if not path.is_file() or not self.accelerator.is_main_process:
            return
        lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        kept = [line for line in lines if json.loads(line)["step"] <= self.step]
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(kept), encoding="utf-8")
        temporary.replace(path)

    def save(self) -> None:
        """Write state, exported checkpoint, sample grid and loss plot."""
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        random = torch.get_rng_state()
        with torch.no_grad(), self.accelerator.autocast():
            self.sample()
        torch.set_rng_state(random)
        exported = self.objective.export(self.average)
        readme = hub.describe(self.name, self.recipe, self.provenance())
        registry.save(exported, self.folder / "checkpoint", name=self.recipe.card, readme=readme)
        plot.losses(self.folder / LOG, self.folder / "losses.png")
        checkpoint.save(
            self.folder / STATE,
            modules=self.modules,
            optimizers=self.optimizers,
            header={
                "step": str(self.step),
                "seconds": str(self.seconds),
                "earlier": json.dumps(self.earlier),
                "fingerprint": self.recipe.fingerprint(),
            },
        )

    def sample(self) -> None:
        """Write a grid of the first training photos, and log the objective's figures of them."""
        batch = {name: images[:SAMPLES] for name, images in self.batch(0).items()}
        columns = [column.float().cpu() for column in self.objective.samples(self.average, batch)]
        rows = torch.cat(columns, dim=3)  # (B, 3, H, columns * W)
        grid = torch.cat(list(rows), dim=1)[None]
        folder = self.folder / "samples"
        folder.mkdir(exist_ok=True)
        (folder / f"{self.step:06d}.png").write_bytes(image.png(grid.clamp(-1, 1)))
        figures = self.objective.statistics(self.average, batch)
        with (self.folder / "statistics.jsonl").open("a", encoding="utf-8") as target:
            target.write(json.dumps({"step": self.step, **figures}) + "\n")

    def provenance(self) -> dict[str, str]:
        """What made the weights: steps, time, device, versions, data."""
        device = self.accelerator.device
        hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores"
        return {
            "steps": str(self.earlier["steps"] + self.step),
            "hours": f"{(self.earlier['seconds'] + self.seconds) / 3600:.2f}",
            "went_on_from": self.earlier.get("checkpoint_sha256", "random weights"),
            "hardware": f"{hardware}, {self.accelerator.num_processes} process(es)",
            "torch": torch.__version__,
            "python": platform.python_version(),
            **{f"{dataset.name}_sha256": dataset.digest for dataset in self.data.sets},
            **{f"{dataset.name}_images": str(dataset.count) for dataset in self.data.sets},
            **self.objective.provenance(),
        }
