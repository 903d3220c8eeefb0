"""The methods that save a model and share it: its card, and pushing it to the Hugging Face Hub."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any, Literal

from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import host_of
from tf_hfwb.trainer.checkpoint_additions import CheckpointFiles
from tf_hfwb.trainer.hub_uploads import HubUploads
from tf_hfwb.trainer.model_card import card_text, own_tags
from tf_hfwb.trainer.model_directory import write_model_directory
from tf_hfwb.trainer.overridden_methods import is_overridden
from tf_hfwb.trainer.push_checkpoints import PushCheckpoints
from tf_hfwb.trainer.reporting_methods import ScriptMethods
from tf_hfwb.trainer.trainer_batches import datasets_by_name
from tf_hfwb.trainer.weight_building import build_weights
from tf_hfwb.validation.argument_checks import check_directory

_logger = logging.getLogger("tf_hfwb")


class SharingMethods(ScriptMethods):
    """What ``TFTrainer`` has to save a model and to share it.

    ``save_model`` of a subclass is called for each checkpoint, too, and what it writes becomes a part of that.

    Names, arguments, return values and the card's content follow ``transformers.Trainer``.
    """

    _given: tuple[Any, Any]
    _uploads: HubUploads
    _checkpoint_directory: pathlib.Path | None = None  # Into which save_model writes, for a checkpoint.

    # -- saving ----------------------------------------------------------------------------------------------------

    def save_model(
        self,
        output_dir: str | os.PathLike[str] | None = None,
        _internal_call: bool = False,
        *,
        weights_format: Literal["tf", "pt"] = "tf",
    ) -> pathlib.Path:
        """Write the model, the tokenizer and the arguments into a directory that stock tools open.

        With ``args.push_to_hub`` the model is pushed, too. What goes wrong with that does not stop the script.

        An override is called for each checkpoint, with its directory and ``_internal_call=True``. The model is written
        there anyway, so that ``super().save_model(output_dir)`` does nothing then.

        Args:
            output_dir: Instead of ``args.output_dir``.
            _internal_call: Do not push, as where subclasses written for transformers pass it on.
            weights_format: ``"pt"`` for a directory that transformers on PyTorch loads, also in version 5.

        Returns:
            The directory: for a transformers model what ``from_pretrained`` takes, else one with ``model.keras``.

        Raises:
            SettingError: ``weights_format`` is neither, PyTorch has no counterpart of the model's class, or something
                that belongs to the model cannot be written as JSON.
        """
        if self._checkpoint_directory is not None and str(output_dir) == str(self._checkpoint_directory):
            return self._checkpoint_directory
        target = self._write_model(output_dir, weights_format)
        if self.args.push_to_hub and not _internal_call and self.is_world_process_zero():
            self._share_after_save(target, weights_format)
        return target

    def _write_model(
        self, output_dir: str | os.PathLike[str] | None, weights_format: Literal["tf", "pt"]
    ) -> pathlib.Path:
        if weights_format not in ("tf", "pt"):
            raise SettingError("weights_format", weights_format, accepted=("tf", "pt"))
        self.args.check()
        target = pathlib.Path(check_directory("output_dir", output_dir or self.args.output_dir))
        if not host_of(self.model).build():
            self._build_weights()
        with contextlib.ExitStack() as stack:
            # Reading what workers share needs all of them, so those that do not save write where nobody looks.
            is_chief = host_of(self.model).is_chief
            written = target if is_chief else pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
            write_model_directory(written, self.model, self.processing_class, self.args, weights_format)
        return target

    def _build_weights(self) -> None:
        """Build the model with the trainer's data, if there is any."""
        data = self.eval_dataset if self.train_dataset is None else self.train_dataset
        batches = None
        if data is not None:
            first_dataset = next(iter(datasets_by_name(data).values()))
            batches = self._batch_factory().prediction(first_dataset)
        build_weights(self.model, batches)

    # -- sharing ---------------------------------------------------------------------------------------------------

    @property
    def hub_model_id(self) -> str | None:
        """The repository on the Hub, with its owner; None before anything was pushed there."""
        return self._uploads.repo_id

    def init_hf_repo(self, token: str | None = None) -> None:
        """Make the repository on the Hub if it is not there; only the chief does.

        Args:
            token: Instead of ``args.hub_token``.
        """
        if self.is_world_process_zero():
            self._uploads.create_repository(token)

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | Sequence[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | Sequence[str] | None = None,
        dataset_tags: str | Sequence[str] | None = None,
        dataset: str | Sequence[str] | None = None,
        dataset_args: str | Sequence[str] | None = None,
    ) -> None:
        """Write a draft of the model card, ``README.md`` in ``args.output_dir``; only the chief does.

        It has the metrics of the evaluations, the hyperparameters, the versions of the libraries, and a link to the W&B
        run of the training.

        Args:
            language: The language of the model.
            license: Its license; that of ``finetuned_from`` when None, which the Hub is asked for.
            tags: More tags, beside those of a card that is there already.
            model_name: Its name; that of ``args.output_dir`` when None.
            finetuned_from: The model that it was made of; what its configuration says when None.
            tasks: What it is for, such as ``"text-classification"``; what its class says when None.
            dataset_tags: The datasets' names on the Hub; what the dataset itself says when None.
            dataset: The datasets' names for people.
            dataset_args: The datasets' configurations.
        """
        if not self.is_world_process_zero():
            return
        card = pathlib.Path(self.args.output_dir) / "README.md"
        described = {
            "language": language,
            "license": license,
            "tags": own_tags(tags, card),
            "model_name": model_name,
            "finetuned_from": finetuned_from,
            "tasks": tasks,
            "dataset_tags": dataset_tags,
            "dataset": dataset,
            "dataset_args": dataset_args,
        }
        text = card_text(
            self.model,
            self.args,
            dataset=self.train_dataset if self.eval_dataset is None else self.eval_dataset,
            log_history=self.state.log_history,
            is_own_optimizer=self._given != (None, None),
            run_link=self._reporting.link,
            described=described,
        )
        self._make_output_dir()
        card.write_text(text, encoding="utf-8")

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Write the model with its tokenizer and its card into ``args.output_dir``, and push that to the Hub.

        Args:
            commit_message: The commit's message.
            blocking: Whether to wait until the Hub has everything.
            token: Instead of ``args.hub_token``.
            revision: The branch, instead of ``args.hub_revision``.
            kwargs: Arguments of :meth:`create_model_card`.

        Returns:
            The commit, or its future unless ``blocking``; None on other workers than the chief.

        Raises:
            OSError: The Hub does not answer, or refuses.
        """
        if not self.is_world_process_zero():
            return None
        self._uploads.create_repository(token)
        self._write_model(None, "tf")
        return self._share(commit_message, token, revision, blocking=blocking, **kwargs)

    def _share(
        self, message: str | None, token: str | None, revision: str | None, *, blocking: bool, **described: Any
    ) -> Any:
        """Push what is in ``args.output_dir``, with a new card."""
        described.setdefault("model_name", self._uploads.name.rpartition("/")[2])
        self.create_model_card(**described)
        return self._uploads.push_directory(message or "End of training", token, revision, blocking=blocking)

    def _share_after_save(self, saved: pathlib.Path, weights_format: Literal["tf", "pt"]) -> None:
        """Push a model that was saved. What goes wrong with the Hub is said, and does not stop the script."""
        if saved.resolve() != pathlib.Path(self.args.output_dir).resolve():
            self._write_model(None, weights_format)
        try:
            if is_overridden(self, "push_to_hub", SharingMethods):
                self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)
            else:
                self._share("Model save", None, None, blocking=True)
        except (OSError, ValueError) as error:
            _logger.warning(
                "Pushing to the Hub failed (%s). The model is in %s. Expected the Hub to take it. Call "
                "trainer.push_to_hub() to try again.",
                self._uploads.describe(error),
                self.args.output_dir,
            )

    def _saving_callbacks(self) -> list[PushCheckpoints | CheckpointFiles]:
        """The callbacks that push checkpoints, and that let a ``save_model`` of a subclass write into them."""
        callbacks: list[PushCheckpoints | CheckpointFiles] = []
        if self.args.push_to_hub and self.args.hub_strategy != "end":
            callbacks.append(PushCheckpoints(self._uploads, by_epochs=self.args.save_strategy == "epoch"))
        if is_overridden(self, "save_model", SharingMethods):
            callbacks.append(CheckpointFiles(self._write_into_checkpoint))
        return callbacks

    def _write_into_checkpoint(self, directory: pathlib.Path) -> None:
        self._checkpoint_directory = directory
        try:
            self.save_model(str(directory), _internal_call=True)
        finally:
            self._checkpoint_directory = None
