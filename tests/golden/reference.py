"""The same weights in transformers: every tensor of a GGUF file dequantised to fp32 and put into
LlamaForCausalLM or Gemma3ForCausalLM."""

import gguf
import numpy as np
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM

PLACES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
GEMMA_PLACES = PLACES | {
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def unpermute(w, heads):
    """GGUF rotates pairs (2i, 2i + 1) of a head, transformers (i, i + half): undo the reordering of rows."""
    return w.reshape(heads, w.shape[0] // heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def gemma_config(value, common):
    layers, head_dim = common["num_hidden_layers"], value("attention.key_length")
    return Gemma3TextConfig(
        **common,
        head_dim=head_dim,
        query_pre_attn_scalar=head_dim,
        sliding_window=value("attention.sliding_window"),
        layer_types=["sliding_attention" if (i + 1) % 6 else "full_attention" for i in range(layers)],
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": value("rope.freq_base")},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    )


def load(path):
    reader = gguf.GGUFReader(path)
    arch = reader.fields["general.architecture"].contents()
    gemma, places = arch == "gemma3", GEMMA_PLACES if arch == "gemma3" else PLACES
    value = lambda key: reader.fields[arch + "." + key].contents()
    heads, kv_heads = value("attention.head_count"), value("attention.head_count_kv")
    state = {}
    for t in reader.tensors:
        w = np.array(gguf.dequantize(t.data, t.tensor_type), dtype=np.float32)
        if gemma and "norm" in t.name:
            w = w - 1  # which transformers adds
        if t.name in TOP:
            state[TOP[t.name]] = torch.from_numpy(w)
            continue
        _, layer, role, _ = t.name.split(".")
        if role in ("attn_q", "attn_k") and not gemma:
            w = unpermute(w, heads if role == "attn_q" else kv_heads)
        state[f"model.layers.{layer}.{places[role]}.weight"] = torch.from_numpy(np.ascontiguousarray(w))
    state.setdefault("lm_head.weight", state["model.embed_tokens.weight"])
    common = dict(
        vocab_size=state["model.embed_tokens.weight"].shape[0],
        hidden_size=value("embedding_length"),
        intermediate_size=value("feed_forward_length"),
        num_hidden_layers=value("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=value("context_length"),
        rms_norm_eps=value("attention.layer_norm_rms_epsilon"),
        attn_implementation="eager",
    )
    if gemma:
        model = Gemma3ForCausalLM(gemma_config(value, common))
    else:
        rope = {"rope_type": "default", "rope_theta": value("rope.freq_base")}
        model = LlamaForCausalLM(LlamaConfig(**common, rope_parameters=rope))
    missing = model.load_state_dict(state, strict=False)
    assert not missing.missing_keys and not missing.unexpected_keys, missing
    return model.float().eval()


def logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def greedy(model, ids, count):
    """[(id, gap to the second best logit)]: a small gap marks a place where rounding may decide."""
    out, past, step = [], None, torch.tensor([ids])
    with torch.no_grad():
        for _ in range(count):
            result = model(step, past_key_values=past, use_cache=True)
            past = result.past_key_values
            best = torch.topk(result.logits[0, -1], 2)
            out.append((int(best.indices[0]), float(best.values[0] - best.values[1])))
            step = best.indices[:1].reshape(1, 1)
    return out
