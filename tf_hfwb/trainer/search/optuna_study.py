"""The study of optuna that a search continues or begins."""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import check_distribution_compatibility

from tf_hfwb.checkpoint.store import Store
from tf_hfwb.errors import SettingError
from tf_hfwb.trainer.search.optuna_private import number_of_points
from tf_hfwb.trainer.search.repeatable_sampler import RepeatableSampler
from tf_hfwb.trainer.search.search_backend import Search, trial_directory_name

STUDY_OPTIONS = ("storage", "sampler", "pruner", "study_name", "load_if_exists")
# What samplers need besides optuna.
_NEEDS = {optuna.samplers.CmaEsSampler: ("cmaes",), optuna.samplers.GPSampler: ("scipy", "torch")}


class SearchStudy:
    """A study, with what is known of it before its first trial.

    Args:
        search: The search.
        directory: The folder of the search.

    Attributes:
        name: Its name.
        storage: Where it is kept.
        has_own_storage: Whether it is kept in the folder of the search, so that whoever shares it shares the folder.
        study: The study.
        num_trials: How many trials there are to be in all; a grid may have fewer points.

    Raises:
        SettingError: An option cannot be used, or the study is another search's.
    """

    def __init__(self, search: Search, directory: pathlib.Path) -> None:
        options = search.options
        given = options.get("storage")
        self.has_own_storage = given is None
        self.name = str(options.get("study_name") or search.default_name)
        sampler = options.get("sampler")
        sampler = optuna.samplers.TPESampler(seed=search.args.seed) if sampler is None else sampler
        _check_sampler(sampler)
        _check_pruner(options.get("pruner"))
        self.storage = _open_storage(directory / "optuna.db" if given is None else given)
        self.num_trials = search.n_trials
        if isinstance(sampler, optuna.samplers.GridSampler):
            self.num_trials = min(self.num_trials, number_of_points(sampler))
        self.study = self._open(search, RepeatableSampler(sampler), options)

    def _open(self, search: Search, sampler: optuna.samplers.BaseSampler, options: Mapping[str, Any]) -> optuna.Study:
        may_exist = options.get("load_if_exists", True)
        try:
            study = optuna.create_study(
                storage=self.storage,
                sampler=sampler,
                pruner=options.get("pruner"),
                study_name=self.name,
                load_if_exists=may_exist,
                directions=[optuna.study.StudyDirection[one.upper()] for one in search.directions],
            )
        except optuna.exceptions.DuplicatedStudyError:
            raise SettingError(
                "load_if_exists",
                may_exist,
                expected=f"True, to continue the search {self.name!r}, which is there already",
                advice="Pass another study_name or output_dir for a new search.",
            ) from None
        begun = tuple(direction.name.lower() for direction in study.directions)
        if begun != search.directions:
            raise SettingError(
                "direction",
                list(search.directions),
                expected=f"{list(begun)}, with which the search {self.name!r} was begun",
                advice="Pass another study_name or output_dir for a new search.",
            )
        return study

    def trial_id(self, number: int) -> int:
        """What the storage calls a trial."""
        study_id = self.storage.get_study_id_from_name(self.name)
        return self.storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def check_space(self, hp_space: Callable[[Any], Any], check_params: Callable[[Any], None]) -> None:
        """Refuse a space before any time is spent on it.

        Args:
            hp_space: It, as a function of a trial.
            check_params: Refuses hyperparameters that cannot be used.

        Raises:
            SettingError: ``hp_space`` returns what cannot be used, or the study was begun with another space.
        """
        trial = _probe()
        check_params(hp_space(trial))
        for earlier in self.study.get_trials(deepcopy=False):
            for name, distribution in trial.distributions.items():
                try:
                    check_distribution_compatibility(earlier.distributions.get(name, distribution), distribution)
                except ValueError as error:
                    raise SettingError(
                        "hp_space",
                        name,
                        expected=f"the values with which the search {self.name!r} was begun ({error})",
                        advice="Pass another study_name or output_dir for a new search.",
                    ) from error

    def check_directories(self, search: Search) -> None:
        """Refuse folders of new trials that have checkpoints of something else.

        Raises:
            SettingError: There is one.
        """
        if search.args.save_strategy == "no":
            return
        for number in range(len(self.study.get_trials(deepcopy=False)), self.num_trials):
            folder = pathlib.Path(search.args.output_dir, trial_directory_name(str(number)))
            if folder.is_dir() and Store(folder).checkpoints():
                raise SettingError(
                    "output_dir",
                    search.args.output_dir,
                    expected=f"a directory without checkpoints of another search, and {folder} has some",
                    advice="Pass another output_dir, or remove that folder.",
                )


def _open_storage(where: Any) -> optuna.storages.BaseStorage:
    """The storage that a file, a URL or the user's own object stands for."""
    if isinstance(where, pathlib.Path):
        # Several processes may write at once: SQLite lets one of them wait, for 5 seconds if it is not told.
        options = {"connect_args": {"timeout": 120}}
        return optuna.storages.get_storage(optuna.storages.RDBStorage(f"sqlite:///{where}", engine_kwargs=options))
    try:
        return optuna.storages.get_storage(where)
    except Exception as error:
        raise SettingError(
            "storage", where, expected="a URL as SQLAlchemy takes it, or a storage of optuna", advice=str(error)
        ) from error


def _check_sampler(sampler: Any) -> None:
    if not isinstance(sampler, optuna.samplers.BaseSampler):
        raise SettingError("sampler", sampler, expected="a sampler, such as optuna.samplers.RandomSampler(seed=0)")
    for kind, modules in _NEEDS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        if isinstance(sampler, kind) and missing:
            raise SettingError(
                "sampler",
                kind.__name__,
                expected=f"a sampler whose packages are installed, and {' and '.join(missing)} are not",
                advice=f"Run: pip install {' '.join(missing)}",
            )


def _check_pruner(pruner: Any) -> None:
    if pruner is not None and not isinstance(pruner, optuna.pruners.BasePruner):
        raise SettingError("pruner", pruner, expected="a pruner, such as optuna.pruners.MedianPruner()")


def _probe() -> optuna.Trial:
    """A trial that belongs to no search."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)).ask()
    finally:
        optuna.logging.set_verbosity(verbosity)
