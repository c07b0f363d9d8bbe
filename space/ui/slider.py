"""Before and after on one stage: a range input, so that keyboard, mouse, touch and screen readers can all move it."""

from pathlib import Path

import gradio as gr
from gradio import processing_utils

from space import convert
from space.ui import text

# Handlebars fields only: their values are escaped. None of them may come from a visitor, because the result is
# evaluated once more as a JavaScript template.
TEMPLATE = """
{{#if value}}
<figure class="compare">
  <div class="stage" style="--ratio: {{value.ratio}}; --narrow: {{value.narrow}}">
    <img class="drawing" src="{{value.after.url}}" alt="{{alt_drawing}}" decoding="async">
    <img class="photo" src="{{value.before.url}}" alt="{{alt_photo}}" decoding="async">
    <span class="tag left" aria-hidden="true">{{before}}</span>
    <span class="tag right" aria-hidden="true">{{after}}</span>
    <span class="divider" aria-hidden="true"></span>
    <input type="range" min="0" max="100" value="50" step="1" aria-label="{{compare}}">
  </div>
  <figcaption>
    <a class="download" href="{{value.after.url}}" download="{{value.filename}}">{{download}}</a>
  </figcaption>
</figure>
{{else}}
<div class="vacant"><svg viewBox="0 0 48 48" aria-hidden="true"><rect x="5" y="9" width="38" height="30" rx="4"/>
<path d="M24 9v30M12 31l6-8 6 8M30 20h6M30 26h6"/></svg><p>{{empty}}</p></div>
{{/if}}
"""

SCRIPT = """
const place = () => {
  const range = element.querySelector('input[type=range]');
  if (range) range.closest('.stage').style.setProperty('--cut', range.value + '%');
};
element.addEventListener('input', place);
watch('value', () => {
  const range = element.querySelector('input[type=range]');
  if (!range) return;
  range.value = 50;
  place();
  const calm = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
  element.scrollIntoView({block: 'nearest', behavior: calm ? 'auto' : 'smooth'});
});
"""


def build(sentences: text.Sentences) -> gr.HTML:
    """Put an empty comparison on the page; `value` fills it."""
    return gr.HTML(
        value=None,
        html_template=TEMPLATE,
        js_on_load=SCRIPT,
        apply_default_css=False,
        elem_id="result",
        alt_photo=sentences["alt_photo"],
        alt_drawing=sentences["alt_drawing"],
        before=sentences["before"],
        after=sentences["after"],
        compare=sentences["compare"],
        download=sentences["download"],
        empty=sentences["empty"],
    )


def value(conversion: convert.Conversion, *, folder: str) -> dict[str, object]:
    """Describe a conversion for the stage, both pictures as files that Gradio serves.

    Args:
        conversion: Photo and prediction, of the same size.
        folder: Gradio's cache folder.

    Returns:
        Plain data; Gradio adds an address to each file.
    """
    photo = conversion.photo
    name = f"nijigen-{conversion.model}.png"
    return {
        "before": gr.FileData(path=store(photo.png, "photo.png", folder=folder)).model_dump(),
        "after": gr.FileData(path=store(conversion.png, name, folder=folder)).model_dump(),
        "filename": name,
        "ratio": f"{photo.width} / {photo.height}",
        "narrow": f"{photo.width / photo.height:.4f}",
    }


def store(png: bytes, name: str, *, folder: str) -> str:
    """Write a picture into Gradio's cache, which empties itself; the name is neutral, never the visitor's."""
    return str(Path(processing_utils.save_bytes_to_cache(png, name, folder)))
