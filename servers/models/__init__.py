"""The table of models. A new model is one file, one line here, one test."""

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # the table is for those too who do without torch
    from harness_servers.models.protocol import CheckpointModel

# config.json's model_type -> "module:Class" of a CheckpointModel, imported when it is asked for.
MODELS: Final[dict[str, str]] = {
    "bamba": "harness_servers.models.bamba:BambaModel",
    "causal_rn": "harness_servers.models.causal_rn:CausalRnModel",
    "falcon_mamba": "harness_servers.models.mamba:MambaModel",
    "gated_deltanet": "harness_servers.models.gated_deltanet:GatedDeltaNetModel",
    "gru": "harness_servers.models.gru:GruModel",
    "gsa": "harness_servers.models.gsa:GsaModel",
    "llama": "harness_servers.models.llama_model:LlamaModel",
    "llamba": "harness_servers.models.llamba:LlambaModel",
    "lstm": "harness_servers.models.lstm:LstmModel",
    "mamba": "harness_servers.models.mamba:MambaModel",
    "mamba2": "harness_servers.models.mamba2:Mamba2Model",
    "recurrent_gemma": "harness_servers.models.recurrent_gemma:RecurrentGemmaModel",
    "remamba2": "harness_servers.models.remamba2:ReMamba2Model",
    "rwkv7": "harness_servers.models.rwkv7:Rwkv7Model",
    "samba": "harness_servers.models.samba:SambaModel",
    "scripted": "harness_servers.models.scripted:ScriptedModel",
    "taipan": "harness_servers.models.taipan:TaipanModel",
    "xlstm": "harness_servers.models.xlstm:XlstmModel",
}


def model_class(model_type: str) -> "type[CheckpointModel]":
    """The class of this model_type. Raises KeyError where MODELS does not have it."""
    module, _, name = MODELS[model_type].partition(":")
    found: type[CheckpointModel] = getattr(importlib.import_module(module), name)
    return found
