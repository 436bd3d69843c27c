"""A model behind a URL, by OpenAI's protocol: vLLM, SGLang, llama.cpp, LM Studio, OpenRouter, vendors."""
