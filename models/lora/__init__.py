"""LoRAs: small changes to the weights of some layers, which the operator names and a request picks, with a scale.

They are read from safetensors files when the model is loaded, and kept in host memory. A render that picks some gets
them on its device, and leaves the model as it was. Weights are never fused: in bfloat16 that could not be undone.

| module | what it does |
|---|---|
| `source` | where a LoRA comes from, by the operator's settings |
| `files` | finds or downloads its file, and reads the header |
| `distilled` | finds the LoRA that a base checkpoint needs for the second of two stages |
| `layout` | which tensors belong to which layer, in the layouts of diffusers, Lightricks and ComfyUI |
| `weights` | reads the tensors, and compares them with the model's layers |
| `lora_linear` | a layer with its LoRAs |
| `lora_set` | all LoRAs of a loaded model; applies those of a request |
"""
