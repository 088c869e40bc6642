"""ComfyUI's side of the pack: node classes and model patching."""
