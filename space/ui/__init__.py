"""The Gradio interface: one file per tab, put together by the demo."""
