"""The repository on the Hugging Face Hub to which a trainer pushes, and what is on its way there."""

from __future__ import annotations

import contextlib
import functools
import logging
import pathlib
from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any

from tf_hfwb.checkpoint.manifest import MANIFEST
from tf_hfwb.errors import SettingError
from tf_hfwb.keras_compat import Host
from tf_hfwb.messages import first_line, inform
from tf_hfwb.resume.state_tensors import TENSORS
from tf_hfwb.resume.trainer_state import FACTS
from tf_hfwb.secret_masking import mask_text
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_logger = logging.getLogger("tf_hfwb")

# Seconds to wait for the answer that there is a repository, and for uploads at the end of training.
_ANSWER_TIMEOUT = 60.0
_UPLOAD_TIMEOUT = 1800.0
# What is no part of the model: checkpoints, bases of LoRA, the model that W&B gets, and what is being written.
_NOT_PUSHED = [
    "_*",
    "checkpoint-*",
    "base-*/base.safetensors",
    "base-*/manifest.json",
    "model/*",
    ".tf_hfwb*",
    ".tmp-*",
]
_STATE_FILES = [MANIFEST, FACTS, TENSORS]


def open_uploads(args: TFTrainingArguments, host: Host) -> HubUploads:
    """What a trainer pushes; if it is to push, its repository is there, or made.

    Args:
        args: Whether and where it pushes.
        host: The model. Only the chief pushes.

    Raises:
        SettingError: It cannot push.
    """
    uploads = HubUploads(args)
    if args.push_to_hub and host.is_chief:
        uploads.open()
    return uploads


class HubUploads:
    """Pushes to one repository, one after the other, on a thread of ``huggingface_hub``.

    What goes wrong in the background is said once when it happens, and once more at the end of the training. Tested
    with the real client against a stand-in of the server, not against the Hub itself.

    Args:
        args: The repository, the token, and what is pushed when.

    Attributes:
        args: The same.
        repo_id: The repository with its owner; None until the Hub has said it.
    """

    def __init__(self, args: TFTrainingArguments) -> None:
        self.repo_id: str | None = None
        self.args = args
        self._has_branch = False
        self._pushes: list[Future[Any]] = []
        self._has_warned = False

    @functools.cached_property
    def _api(self) -> HfApi:
        from huggingface_hub import HfApi

        return HfApi()

    @property
    def name(self) -> str:
        """The repository as the arguments name it: without an owner it is the token's."""
        return self.args.hub_model_id or pathlib.Path(self.args.output_dir).absolute().name

    # -- the repository --------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the repository if it is not there, before any time is spent on training.

        A Hub that does not answer is only warned of: each push tries again.

        Raises:
            SettingError: There is no token, requests are forbidden, or the Hub refuses the token or the name.
        """
        from huggingface_hub import constants, get_token
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        if self.args.hub_token is None and get_token() is None:
            raise SettingError(
                "push_to_hub",
                True,
                expected="a token for the Hub, and there is none",
                advice="Run `hf auth login`, set HF_TOKEN, or pass hub_token.",
            )
        if constants.HF_HUB_OFFLINE:
            raise SettingError(
                "push_to_hub", True, expected="False with HF_HUB_OFFLINE, which forbids requests", advice="Unset that."
            )
        try:
            self._api.run_as_future(self.create_repository).result(_ANSWER_TIMEOUT)
        except (HfHubHTTPError, HFValidationError) as error:
            status = getattr(getattr(error, "response", None), "status_code", 400)
            if not 400 <= status < 500:
                self._warn_of_no_answer(error)
                return
            raise SettingError(
                "hub_model_id",
                self.name,
                expected=f"a repository to which the token may write, and the Hub says: {self.describe(error)}",
                advice="Pass hub_model_id='owner/name', and a token with the right to write there.",
            ) from None
        except OSError as error:  # A TimeoutError, too.
            self._warn_of_no_answer(error)

    def _warn_of_no_answer(self, error: Exception) -> None:
        _logger.warning(
            "The Hub does not answer (%s). Training goes on, and each push tries again. Expected a connection, to push "
            "to %s.",
            self.describe(error),
            self.name,
        )

    def create_repository(self, token: str | None = None) -> str:
        """Make the repository, and the branch of ``args.hub_revision``, if they are not there.

        Args:
            token: Instead of the arguments'.

        Returns:
            The repository with its owner.
        """
        token = token or self.args.hub_token
        if self.repo_id is None:
            url = self._api.create_repo(self.name, token=token, private=self.args.hub_private_repo, exist_ok=True)
            self.repo_id = url.repo_id
        if self.args.hub_revision is not None and not self._has_branch:
            self._api.create_branch(self.repo_id, branch=self.args.hub_revision, token=token, exist_ok=True)
            self._has_branch = True
        return self.repo_id

    # -- pushes ----------------------------------------------------------------------------------------------------

    @property
    def is_pushing(self) -> bool:
        """Whether a push is not done yet."""
        return any(not push.done() for push in self._pushes)

    def push_directory(self, message: str, token: str | None, revision: str | None, *, blocking: bool) -> Any:
        """Push ``args.output_dir``, without its checkpoints.

        Args:
            message: The commit's message.
            token: Instead of the arguments'.
            revision: The branch, instead of the arguments'.
            blocking: Whether to wait for it.

        Returns:
            The commit as ``huggingface_hub`` describes it, or the future of it.
        """
        self.finish()
        push = functools.partial(
            self._api.upload_folder,
            repo_id=self.create_repository(token),
            folder_path=self.args.output_dir,
            commit_message=message,
            token=token or self.args.hub_token,
            ignore_patterns=list(_NOT_PUSHED),
            revision=revision or self.args.hub_revision,
        )
        return push() if blocking else self._api.run_as_future(push)

    def push_checkpoint(self, path: pathlib.Path, message: str) -> Future[Any] | None:
        """Push the model of a checkpoint in the background, and as ``args.hub_strategy`` says the checkpoint itself.

        Args:
            path: The checkpoint's directory, which must stay until the push is done.
            message: The commit's message.

        Returns:
            The push; None if it is left out, because the one before is not done or the strategy is to wait for the
            end.
        """
        strategy = self.args.hub_strategy
        if strategy == "end" or (self.is_pushing and not self.args.hub_always_push):
            return None
        place = {"checkpoint": "last-checkpoint", "all_checkpoints": path.name}.get(strategy)
        push = self._api.run_as_future(self._push_checkpoint, path, message, place)
        push.add_done_callback(self._warn_of_failure)
        self._pushes.append(push)
        return push

    def _push_checkpoint(self, path: pathlib.Path, message: str, place: str | None) -> None:
        args = self.args
        options: dict[str, Any] = {
            "repo_id": self.create_repository(),
            "folder_path": path,
            "token": args.hub_token,
            "revision": args.hub_revision,
        }
        with _without_progress_bars():
            self._api.upload_folder(commit_message=message, ignore_patterns=list(_STATE_FILES), **options)
            if place is not None:
                self._api.upload_folder(commit_message=f"{message}, checkpoint", path_in_repo=place, **options)

    def _warn_of_failure(self, push: Future[Any]) -> None:
        """Runs on the thread of the push."""
        error = push.exception()
        if error is not None and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "Pushing to the Hub failed (%s). Training goes on. Expected %s to take it. This is said once.",
                self.describe(error),
                self.name,
            )

    def finish(self) -> None:
        """Wait for the pushes that are under way, and say how many have failed."""
        if self.is_pushing:
            inform("Waiting until the Hub has the last checkpoint.")
        pushes, self._pushes = self._pushes, []
        ended, late = wait(pushes, _UPLOAD_TIMEOUT)
        if late:
            _logger.warning(
                "The Hub has not taken everything within %.0f s. Expected it to. The process waits for the rest when "
                "it ends.",
                _UPLOAD_TIMEOUT,
            )
        errors = [error for error in (push.exception() for push in pushes if push in ended) if error is not None]
        if errors:
            _logger.warning(
                "%d of %d pushes to %s failed, the last one with %s. Expected none. Call trainer.push_to_hub() to push "
                "the model as it is now.",
                len(errors),
                len(pushes),
                self.name,
                self.describe(errors[-1]),
            )

    def describe(self, error: BaseException) -> str:
        """What an error says, without the token, which may look like any word."""
        said = f"{type(error).__name__}: {mask_text(first_line(error))}"
        token = self.args.hub_token
        return said.replace(token, "<HUB_TOKEN>") if token else said


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Bars of uploads in the background would run through the training's own."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    were_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            enable_progress_bars()
