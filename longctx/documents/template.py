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
    """The kind of frame and the instruction in front of the document.

    chat: the tokenizer's chat template, the answer prefix after the assistant's header. plain: no template.
    message: what a server's own chat template is put around; the answer prefix ends the message.
    """

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
        if self.kind == "message":
            question = f"{asked.question}\n{asked.answer_prefix}" if asked.answer_prefix else asked.question
            return self._render(tokenizer, question).partition(_DOCUMENT)[2]
        return self._render(tokenizer, asked.question).partition(_DOCUMENT)[2] + asked.answer_prefix

    def _render(self, tokenizer: Tokenizer, question: str) -> str:
        content = f"{self.instruction} Text:{_DOCUMENT}\n\n"
        if self.kind == "plain":
            return f"{content}Question: {question}\nAnswer:"
        if self.kind == "message" and not tokenizer.has_chat_template:
            return content + question
        rendered = tokenizer.render_chat(content + question)
        if rendered.count(_DOCUMENT) != 1:
            raise ConfigError("The chat template does not show the user's message once; use --template plain.")
        return rendered


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a chat template puts around a user's message; empty where the tokenizer has none."""

    before: str
    after: str

    def open(self, text: str) -> str:
        """The message inside a whole prompt's text; raises ValueError if that is not in this envelope."""
        if not (text.startswith(self.before) and text.endswith(self.after)):
            raise ValueError("the text is not in the chat template's envelope")
        return text[len(self.before) : len(text) - len(self.after)]


def envelope(tokenizer: Tokenizer) -> Envelope:
    """The envelope of this tokenizer's chat template; raises ConfigError for one that shows the message not once."""
    if not tokenizer.has_chat_template:
        return Envelope("", "")
    before, mark, after = tokenizer.render_chat(_DOCUMENT).partition(_DOCUMENT)
    if not mark or _DOCUMENT in after:
        raise ConfigError("The chat template does not show the user's message once; use --api completions.")
    return Envelope(before, after)


def choose_template(asked: str, instruction: str, tokenizer: Tokenizer) -> Template:
    """The template that `asked` (auto, chat, plain or message) means for this tokenizer; raises ConfigError."""
    if asked == "chat" and not tokenizer.has_chat_template:
        raise ConfigError("The model's tokenizer has no chat template; use --template plain or auto.")
    kind = asked if asked != "auto" else ("chat" if tokenizer.has_chat_template else "plain")
    return Template(kind, instruction)
