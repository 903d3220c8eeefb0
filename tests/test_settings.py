"""The environment contract."""

from __future__ import annotations

import warnings

import pytest

from tf_hfwb.errors import SettingError, TFHFWBError
from tf_hfwb.settings import LogModel, Settings, Watch

pytestmark = pytest.mark.core


def test_defaults():
    assert Settings.resolve({}) == Settings("huggingface", LogModel.FALSE, Watch.FALSE, False, None)


def test_argument_then_variable_then_default():
    environ = {"WANDB_PROJECT": "env", "WANDB_LOG_MODEL": "end", "WANDB_WATCH": "all"}
    assert Settings.resolve(environ).project == "env"
    settings = Settings.resolve(environ, project="arg", log_model="checkpoint", watch="gradients")
    assert (settings.project, settings.log_model, settings.watch) == ("arg", LogModel.CHECKPOINT, Watch.GRADIENTS)
    assert Settings.resolve(environ, log_model=False, watch=False).log_model is LogModel.FALSE


@pytest.mark.parametrize(
    ("word", "meaning"),
    [("false", "false"), ("FALSE", "false"), ("End", "end"), (" checkpoint ", "checkpoint"), ("", "false")],
)
def test_log_model_words_in_any_case(word, meaning):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Settings.resolve({"WANDB_LOG_MODEL": word}).log_model.value == meaning


@pytest.mark.parametrize("word", ["true", "TRUE", "1", "yes", "on"])
def test_old_true_words_mean_end_and_are_deprecated(word):
    with pytest.warns(FutureWarning, match=r"WANDB_LOG_MODEL='\w+' is deprecated and means 'end'"):
        assert Settings.resolve({"WANDB_LOG_MODEL": word}).log_model is LogModel.END


def test_other_words_are_errors_that_list_the_accepted_ones():
    with pytest.raises(SettingError) as caught:
        Settings.resolve({"WANDB_LOG_MODEL": "always"})
    assert str(caught.value) == (
        "WANDB_LOG_MODEL='always' is not recognised. Expected one of 'false', 'end', 'checkpoint'. "
        "Unset WANDB_LOG_MODEL to upload nothing."
    )
    assert (caught.value.name, caught.value.value) == ("WANDB_LOG_MODEL", "always")
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TFHFWBError)
    with pytest.raises(SettingError, match=r"watch='weights' is not recognised. Expected one of 'false', 'gradients'"):
        Settings.resolve({}, watch="weights")
    with pytest.raises(SettingError, match="WANDB_WATCH"):
        Settings.resolve({"WANDB_WATCH": "true"})


@pytest.mark.parametrize(
    ("word", "disabled"), [("true", True), ("1", True), ("On", True), ("false", False), ("", False)]
)
def test_disabled(word, disabled):
    assert Settings.resolve({"WANDB_DISABLED": word}).disabled is disabled
