"""The pages of the app; the only package, with app.py, that knows Gradio."""

from space.ui.demo import build_demo

__all__ = ["build_demo"]
