"""Chat templates as they are published: rendered as transformers renders them, or refused."""

import json
from pathlib import Path

import pytest
from harnessapi.text.chat_template import ChatTemplate, TemplateError
from harnessapi.text.template_files import read_chat_template

from harness_servers.checkpoints.codec import Codec

# In the manner of what these models are published with.
TEMPLATES = {
    "ChatML": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "SmolLM2": "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "Zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
    "{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n"
    "{{ '<|system|>\n' + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n"
    "{% endfor %}",
    "Llama 2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}"
    "{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
    "{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0)"
    " %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}"
    "{% endif %}{% endfor %}",
    "Llama 3": "{{- bos_token }}\n{%- if not tools is defined %}{% set tools = none %}{% endif %}\n"
    "{%- set loop_messages = messages %}\n{%- for message in loop_messages %}\n"
    "    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}\n"
    "    {{- message.content | trim + '<|eot_id|>' }}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}\n{%- endif %}\n",
    "Gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
    "{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    "Qwen 3": "{%- set ns = namespace(multi_step=true, last=messages|length - 1) %}\n"
    "{%- for message in messages[::-1] %}\n"
    "    {%- set index = (messages|length - 1) - loop.index0 %}\n"
    "    {%- if ns.multi_step and message.role == 'user' and message.content is string and not("
    "message.content.startswith('<tool_response>')) %}\n        {%- set ns.multi_step = false %}\n"
    "        {%- set ns.last = index %}\n        {%- break %}\n    {%- endif %}\n{%- endfor %}\n"
    "{%- for message in messages %}\n    {{- '<|im_start|>' + message.role + '\\n' }}\n"
    "    {%- if tools %}{{ tools | tojson }}{% endif %}\n"
    "    {{- message.content + '<|im_end|>\\n' + ns.last|string }}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n"
    "    {%- if enable_thinking is defined and enable_thinking is false %}\n"
    "        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}",
    "training marks": "{% for message in messages %}{% if message.role == 'assistant' %}"
    "{% generation %}{% set x = 1 %}{{ message.content }}{% endgeneration %}{{ x }}{% else %}"
    "{{ message | tojson }}{{ message | tojson(indent=2) }}{% endif %}{% endfor %}",
    "dated": "{{ strftime_now('%Y') }} {{ unk_token }}{{ pad_token }}{{ nothing_of_the_kind }}"
    "{% macro said(m) %}{{ m.role | upper }}: {{ m['content'] }}{% endmacro %}"
    "{% for m in messages %}{{ said(m) }}\n{% endfor %}",
}
CONVERSATIONS = [
    [{"role": "user", "content": ' Was ist 1 < 2 & "q"? é 日本 {{ 7*7 }} \n\nAnswer:\n'}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "bab"},
        {"role": "assistant", "content": "dok"},
        {"role": "user", "content": "fem"},
    ],
    [{"role": "assistant", "content": "I begin."}],
]
TOKENS = {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}, "pad_token": None}
BOS_TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"


def write(folder: Path, tokenizer, **config: object) -> Path:
    tokenizer.save(str(folder / "tokenizer.json"))
    tokens = {"eos_token": "</s>", "bos_token": "<s>", "unk_token": "<unk>"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **tokens, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def of_transformers(folder: Path, messages: list[dict[str, str]], *, tokenize: bool):
    """What transformers makes of it, or None where it refuses it."""
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    try:
        return tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=tokenize, return_dict=False
        )
    except Exception:  # whatever a template raises
        return None


def render(folder: Path, messages: list[dict[str, str]]) -> str | None:
    template = read_chat_template(folder)
    assert template is not None
    try:
        return template.render(messages)
    except TemplateError:
        return None


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_renders_as_it_does_in_transformers(tmp_path, tokenizers, name) -> None:
    folder = write(tmp_path, tokenizers["llama"], chat_template=TEMPLATES[name])
    rendered = [render(folder, messages) for messages in CONVERSATIONS]
    expected = [of_transformers(folder, one, tokenize=False) for one in CONVERSATIONS]
    assert rendered == expected
    assert rendered[0]


@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_a_conversation_begins_with_one_bos_where_its_template_says_so(
    tmp_path, tokenizers, kind: str
) -> None:
    tokenizer = tokenizers[kind]
    folder = write(tmp_path, tokenizer, chat_template=BOS_TEMPLATE)
    codec = Codec(
        tokenizer,
        eos_ids=frozenset(),
        answer_id=None,
        markers=None,
        chat_template=read_chat_template(folder),
    )
    [messages, *_] = CONVERSATIONS
    ids = list(codec.encode_chat(messages).ids)
    assert ids == of_transformers(folder, messages, tokenize=True)
    assert ids.count(tokenizer.token_to_id("<s>")) == 1


def test_a_text_gets_what_its_tokenizer_puts_around_it(tmp_path, tokenizers, kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = tokenizers[kind]
    if kind == "bare":
        return  # transformers cannot do without a decoder
    codec = Codec(tokenizer, eos_ids=frozenset(), answer_id=None, markers=None)
    write(tmp_path, tokenizer)
    known = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    for text in ("bab dok", "The <s> The", " bab"):
        assert list(codec.encode_prompt(text).ids) == known(text)["input_ids"]


def test_a_file_of_its_own_goes_before_the_config_and_default_before_others(
    tmp_path, tokenizers
) -> None:
    named = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    messages = CONVERSATIONS[0]
    folder = write(tmp_path, tokenizers["llama"], chat_template=named)
    assert render(folder, messages) == of_transformers(folder, messages, tokenize=False) == "D"
    (folder / "chat_template.jinja").write_text("F {{ eos_token }}")
    assert render(folder, messages) == of_transformers(folder, messages, tokenize=False) == "F </s>"


def test_without_a_template_there_is_none(tmp_path, tokenizers) -> None:
    assert read_chat_template(tmp_path) is None
    assert read_chat_template(write(tmp_path, tokenizers["llama"])) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[1]", "does not hold an object"),
        ("{", "is not JSON"),
        ('{"chat_template": 7}', "neither a text nor a list"),
        ('{"chat_template": [{"name": "x", "template": 1}]}', "neither a text nor a list"),
        ('{"chat_template": [{"name": "rag", "template": "R"}]}', "'default'; there are: rag"),
        (json.dumps({"chat_template": "x" * (2**20 + 1)}), "has 1048577 characters"),
    ],
)
def test_a_template_that_cannot_be_taken_is_named(tmp_path, config: str, message: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(TemplateError, match=message):
        read_chat_template(tmp_path)


ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[ }}", "TemplateSyntaxError"),
        ("{{ raise_exception('no system here') }}", "no system here"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
        ("{{ messages[0].content.nothing.at_all }}", "UndefinedError"),
        ("{% include 'etc' %}", "TypeError|TemplateNotFound|no loader"),
        ("{% for i in range(10**9) %}{% endfor %}", "OverflowError"),
        (ENDLESS, "takes over 2 s"),
        ("{{ (9 + messages|length) ** (10 ** 10) }}", "takes over 2 s|memory"),
        ("{{ 'a' * 10 ** 10 }}", "MiB of memory"),
        ("{% set x = namespace(t='a') %}{% for i in range(40) %}{% set x.t = x.t ~ x.t %}"
         "{% endfor %}{{ x.t }}", "MiB of memory"),
        ("{{ 'a' * 2 ** 26 }}", "67108864 characters"),
    ],
)  # fmt: skip
def test_a_hostile_template_ends_with_an_error_and_the_next_one_is_rendered(
    template: str, message: str
) -> None:
    switch = "{% if messages[0].content == 'well' %}done{% else %}" + template + "{% endif %}"
    is_wrong = "messages[ }}" in template
    limit_s = 2.0 if "takes over" in message else 600.0
    hostile = ChatTemplate(template if is_wrong else switch, {}, render_limit_s=limit_s)
    with pytest.raises(TemplateError, match=message):
        hostile.render([{"role": "user", "content": "ill"}])
    if not is_wrong:
        assert hostile.render([{"role": "user", "content": "well"}]) == "done"


def test_the_process_of_a_template_ends_with_it(tokenizers) -> None:
    template = ChatTemplate("x", {})
    template.render([{"role": "user", "content": ""}])
    worker = template._worker
    assert worker is not None
    assert worker.poll() is None
    del template
    assert worker.wait(timeout=60) is not None
