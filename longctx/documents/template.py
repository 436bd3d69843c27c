"""What stands before and after the document: instruction, question, chat template, answer prefix."""

from __future__ import annotations

from dataclasses import dataclass

from longctx.documents.tokenizer import Tokenizer
from longctx.errors import ConfigError
from longctx.records import Asked

# Takes the document's place while the chat template is rendered; no template produces it.
_DOCUMENT = "\ue000"


@dataclass(frozen=True, slots=True)
class Template:
    """The kind of frame, `chat` or `plain`, and the instruction in front of the document."""

    kind: str
    instruction: str

    def head_text(self, tokenizer: Tokenizer) -> str:
        """All text before the document, which then starts with a space."""
        return self._render(tokenizer, "").partition(_DOCUMENT)[0]

    def head_prefix_ids(self, tokenizer: Tokenizer) -> list[int]:
        """Ids before the head: a chat template writes its own BOS, plain text gets the tokenizer's."""
        return tokenizer.prefix_ids if self.kind == "plain" else []

    def tail_text(self, asked: Asked, tokenizer: Tokenizer) -> str:
        """All text after the document, up to where the model speaks."""
        if self.kind == "plain":
            answer = f" {asked.answer_prefix}" if asked.answer_prefix else ""
            return self._render(tokenizer, asked.question).partition(_DOCUMENT)[2] + answer
        return self._render(tokenizer, asked.question).partition(_DOCUMENT)[2] + asked.answer_prefix

    def _render(self, tokenizer: Tokenizer, question: str) -> str:
        content = f"{self.instruction} Text:{_DOCUMENT}\n\n"
        if self.kind == "plain":
            return f"{content}Question: {question}\nAnswer:"
        rendered = tokenizer.render_chat(content + question)
        if rendered.count(_DOCUMENT) != 1:
            raise ConfigError("The chat template does not show the user's message once; use --template plain.")
        return rendered


def choose_template(asked: str, instruction: str, tokenizer: Tokenizer) -> Template:
    """The template that `asked` (auto, chat or plain) means for this tokenizer; raises ConfigError."""
    if asked == "chat" and not tokenizer.has_chat_template:
        raise ConfigError("The model's tokenizer has no chat template; use --template plain or auto.")
    kind = asked if asked != "auto" else ("chat" if tokenizer.has_chat_template else "plain")
    return Template(kind, instruction)
