"""What a video shows, asked of the demo model: prompts, guidance, images, audio and edits act as they should.

Each threshold leaves room below what was measured with the weights in models/checkpoint/demo; see the comments.
"""
