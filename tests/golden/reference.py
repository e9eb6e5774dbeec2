"""The same weights in transformers: every tensor of a GGUF file dequantised to fp32 and put into
LlamaForCausalLM."""

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

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
TOP = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def unpermute(w, heads):
    """GGUF rotates pairs (2i, 2i + 1) of a head, transformers (i, i + half): undo the reordering of rows."""
    return w.reshape(heads, w.shape[0] // heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def load(path):
    reader = gguf.GGUFReader(path)
    value = lambda key: reader.fields["llama." + key].contents()
    heads, kv_heads = value("attention.head_count"), value("attention.head_count_kv")
    state = {}
    for t in reader.tensors:
        w = np.array(gguf.dequantize(t.data, t.tensor_type), dtype=np.float32)
        if t.name in TOP:
            state[TOP[t.name]] = torch.from_numpy(w)
            continue
        _, layer, role, _ = t.name.split(".")
        if role in ("attn_q", "attn_k"):
            w = unpermute(w, heads if role == "attn_q" else kv_heads)
        state[f"model.layers.{layer}.{PLACES[role]}.weight"] = torch.from_numpy(np.ascontiguousarray(w))
    state.setdefault("lm_head.weight", state["model.embed_tokens.weight"])
    config = LlamaConfig(
        vocab_size=state["model.embed_tokens.weight"].shape[0],
        hidden_size=value("embedding_length"),
        intermediate_size=value("feed_forward_length"),
        num_hidden_layers=value("block_count"),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=value("context_length"),
        rms_norm_eps=value("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": value("rope.freq_base")},
        attn_implementation="eager",
    )
    model = LlamaForCausalLM(config)
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
