"""Task adapters: each turns what one model says about a photo into differentiable targets."""

if __name__ != "vlcam.tasks":  # the checkout's tasks/ must not become a second package
    raise ImportError(f"import vlcam.tasks, not {__name__}")
