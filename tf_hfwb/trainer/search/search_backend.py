"""What a search asks of its backend, and what the backend gets."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tf_hfwb.errors import SettingError
from tf_hfwb.trainer.arguments.training_arguments import TFTrainingArguments
from tf_hfwb.trainer.search.search_trial import SearchResult, SearchTrial, TrialOutcome


@dataclass(frozen=True)
class Search:
    """A search as the user has asked for it.

    Attributes:
        args: The trainer's arguments, with the values that trials begin with.
        hp_space: From the backend's trial to hyperparameters by name, or what the backend takes in its place; None
            for the backend's default.
        n_trials: How many trials there are to be in all.
        directions: ``"minimize"`` or ``"maximize"``, for each objective.
        has_many_objectives: Whether directions were given as a list.
        hp_name: From the backend's trial to its name; None for ``run-{number}``.
        options: What else the user has passed.
        run_trial: Trains a trial. Raises what ends it early: ``TrialStoppedError``, or whatever went wrong.
        add_callback: Adds a callback of transformers to the trainer.
        takes_trial: Whether ``model_init`` takes the trial, and so may use hyperparameters that are no arguments.
        check_params: Raises a ``SettingError`` where hyperparameters cannot be used.
        report: To be called with the result when no trial is left, by the last of several processes; returns what
            finds the search's own W&B run, which is empty without one.
    """

    args: TFTrainingArguments
    hp_space: Callable[[Any], Any] | None
    n_trials: int
    directions: tuple[str, ...]
    has_many_objectives: bool
    hp_name: Callable[[Any], str] | None
    options: Mapping[str, Any]
    run_trial: Callable[[SearchTrial], TrialOutcome]
    add_callback: Callable[[Any], None]
    takes_trial: bool
    check_params: Callable[[Mapping[str, Any]], None]
    report: Callable[[SearchResult], Mapping[str, str]]

    @property
    def default_name(self) -> str:
        """The name of the search, unless the user has given one."""
        return self.args.run_name or "search"

    def name_trial(self, given: Any, number: str) -> str:
        """The name of a trial: by ``hp_name``, or as its directory.

        Raises:
            SettingError: ``hp_name`` does not return a name.
        """
        if self.hp_name is None:
            return trial_directory_name(number)
        name = self.hp_name(given)
        if not isinstance(name, str) or not name:
            raise SettingError("hp_name", name, expected="a function that returns the name of a trial")
        return name

    def refuse_unknown_options(self, *known: str) -> None:
        """Refuse options that the backend does not know.

        Raises:
            SettingError: There is one.
        """
        for name in self.options:
            if name not in known:
                raise SettingError("hyperparameter_search", name, accepted=sorted(known), advice="Leave it out.")


class SearchBackend(abc.ABC):
    """Decides which hyperparameters are tried, and in which processes."""

    @abc.abstractmethod
    def run(self, search: Search) -> SearchResult:
        """Search until all trials have ended; trials of earlier processes count.

        Raises:
            SettingError: An option cannot be used.
        """


def trial_directory_name(number: str) -> str:
    """The folder of a trial below the output directory.

    Example:
        >>> trial_directory_name("3")
        'run-3'

    Follows ``Trainer`` of transformers.
    """
    return f"run-{number}"
