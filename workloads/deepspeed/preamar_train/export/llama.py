"""The words beside the weights, as Hugging Face's Llama and Mixtral read them."""

from typing import Any

from preamar_train.data.tokens import END, END_ID
from preamar_train.models.presets import ModelShape

_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "rope_scaling": None,
    "attention_bias": False,
    "mlp_bias": False,
}


def _mixtral(shape: ModelShape) -> dict[str, Any]:
    return {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "num_local_experts": shape.experts,
        "num_experts_per_tok": shape.active_experts,
        "router_aux_loss_coef": shape.balance,
        "router_jitter_noise": 0.0,
        "output_router_logits": False,
        "sliding_window": None,
    }


def config(shape: ModelShape) -> dict[str, Any]:
    """config.json"""
    return {
        **(_mixtral(shape) if shape.experts else _LLAMA),
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_size,
        "hidden_act": "silu",
        "max_position_embeddings": shape.sequence,
        "rms_norm_eps": shape.norm_epsilon,
        "rope_theta": shape.rope_theta,
        "attention_dropout": 0.0,
        "tie_word_embeddings": shape.tie_embeddings,
        "bos_token_id": END_ID,
        "eos_token_id": END_ID,
        "pad_token_id": None,
        "torch_dtype": "float32",
        "use_cache": True,
    }


def tokenizer_config(shape: ModelShape) -> dict[str, Any]:
    """tokenizer_config.json"""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "model_max_length": shape.sequence,
        "clean_up_tokenization_spaces": False,
    }
