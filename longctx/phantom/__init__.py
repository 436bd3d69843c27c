"""Phantoms: language models with constructed weights, whose true window is known by design.

A phantom is a stock `LlamaForCausalLM`. It answers by induction (Olsson et al. 2022, arXiv 2209.11895): it looks for an
earlier occurrence of the last few tokens and says what followed there, exactly if that place is one that it is
designed to see; else it ends at once, whatever its config advertises. One head a layer:

    previous tokens (three layers)   every position gets the codes of the six tokens before it; they look four tokens
                                     back, and in a phantom with local layers, a SmolLM3ForCausalLM, see few more
    chunk parity (some phantoms)     every position knows whether its chunk is an even one
    matching (last layer)            last six tokens against six predecessors of every key, plus a profile of the
                                     distance, against a bar that BOS sets; the winner's next token is copied
"""
