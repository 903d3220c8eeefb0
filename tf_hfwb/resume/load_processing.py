"""``load_processing``: the tokenizer or image processor that lies beside a model."""

from __future__ import annotations

import os
from typing import Any

from tf_hfwb.errors import CorruptCheckpointError, TFHFWBError
from tf_hfwb.messages import first_line
from tf_hfwb.models.pretrained_config import refused_remote_code
from tf_hfwb.resume.find_checkpoint import find_local_path
from tf_hfwb.validation.installed_packages import check_packages
from tf_hfwb.validation.referenced_files import check_processing

# By the class of transformers that reads them.
_FILES = {
    "AutoTokenizer": ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json"),
    "AutoImageProcessor": ("preprocessor_config.json",),
}


def load_processing(source: str | os.PathLike[str], *, trust_remote_code: bool = False) -> Any:
    """The tokenizer or image processor that lies beside a model; None if there is none.

    Args:
        source: As in ``load_model``.
        trust_remote_code: Run code that comes with it (``auto_map``). The user is not asked.

    Raises:
        MissingPackageError: There is one, and transformers is not installed.
        UnsafeModelError: It is code that comes with it, or would open files that do not lie beside it.
        CorruptCheckpointError: Its files cannot be read.
        ArtifactNotFoundError: There is no artifact of that name.
        ServerError: W&B cannot be asked for it, and it was not logged on this machine.
    """
    path = find_local_path(source)
    for name, files in _FILES.items():
        present = [file for file in files if (path / file).is_file()]
        if not present:
            continue
        check_packages(f"{present[0]} in {path}", "transformers", extra="transformers")
        import transformers

        try:
            check_processing(path)
            return getattr(transformers, name).from_pretrained(path, trust_remote_code=trust_remote_code)
        except TFHFWBError:
            raise
        except Exception as error:  # Of any kind: JSON's, of the tokenizers library, of transformers.
            refused = refused_remote_code(str(path), error)
            if refused is not None:
                raise refused from error
            raise CorruptCheckpointError(
                f"{name} cannot read {', '.join(present)} in {path}: {type(error).__name__}: {first_line(error)}. "
                "Expected files as save_pretrained writes them. Save them there again; to go without, remove them."
            ) from error
    return None
