"""Whether a dashboard's package is installed."""

from __future__ import annotations

from importlib.util import find_spec

from tf_hfwb.errors import SettingError


def check_installed(package: str, setting: str = "callbacks") -> None:
    """Refuse a dashboard whose package is not installed.

    Args:
        package: The package.
        setting: The argument that asks for it.

    Raises:
        SettingError: It is not installed.
    """
    if find_spec(package) is None:
        raise SettingError(
            setting,
            package,
            expected=f"what is installed, which {package} is not",
            advice=f"Install it: pip install 'tf_hfwb[{package}]'.",
        )
