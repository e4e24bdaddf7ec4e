"""How Sphinx makes the book; tools/build_book.py writes the address for REPOSITORY."""

project = "POUTA, step by step"
author = copyright = "the pouta study authors"
extensions = ["myst_nb", "sphinx_design", "sphinx_copybutton"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"  # tables in outputs
nb_code_prompt_show = "Code and what it gives"
nb_code_prompt_hide = "Hide"
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]
html_math_renderer = "mathml"  # formulas as the browser's own, without a script from elsewhere
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_copy_source = html_show_sourcelink = False
html_theme_options = {
    "repository_url": "REPOSITORY",
    "repository_branch": "main",
    "path_to_docs": "",
    "use_repository_button": True,
    "use_download_button": False,  # of a source that is made for the book
    "show_navbar_depth": 1,
    "launch_buttons": {
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
        "notebook_interface": "jupyterlab",
    },
}


def setup(app):
    from docutils.nodes import SkipNode
    from latex2mathml.converter import convert

    def write(display):
        def visit(translator, node):
            formula = convert(node.astext(), display=display)
            if display == "block":
                formula = f'<div class="formula">{formula}</div>'
            translator.body.append(formula)
            raise SkipNode

        return visit, None

    app.add_html_math_renderer("mathml", write("inline"), write("block"))
