"""The default negative prompt, used when a request has none. Guidance pushes base checkpoints away from its terms.

Terms and their order are those of Lightricks' pipelines (ltx_pipelines/utils/constants.py:186), one list for all
families. The first five are labels of the training data, not English. Half of the guidance comes from this text, so
other terms make another video.
"""

TERMS = (
    *("has_subtitles", "has_blurbox", "transition from black", "transition to black", "speech_ending_short"),
    *("blurry", "out of focus", "overexposed", "underexposed", "low contrast", "washed out colors"),
    *("excessive noise", "grainy texture", "poor lighting", "flickering", "motion blur"),
    *("distorted proportions", "unnatural skin tones", "deformed facial features", "asymmetrical face"),
    *("missing facial features", "extra limbs", "disfigured hands", "wrong hand count", "artifacts around text"),
    *("inconsistent perspective", "camera shake", "incorrect depth of field", "background too sharp"),
    *("background clutter", "distracting reflections", "harsh shadows", "inconsistent lighting direction"),
    *("color banding", "cartoonish rendering", "3D CGI look", "unrealistic materials", "uncanny valley effect"),
    *("incorrect ethnicity", "wrong gender", "exaggerated expressions", "wrong gaze direction", "mismatched lip sync"),
    *("silent or muted audio", "distorted voice", "robotic voice", "echo", "background noise", "off-sync audio"),
    *("incorrect dialogue", "added dialogue", "repetitive speech", "jittery movement", "awkward pauses"),
    *("incorrect timing", "unnatural transitions", "inconsistent framing", "tilted camera", "flat lighting"),
    *("inconsistent tone", "cinematic oversaturation", "stylized filters", "or AI artifacts."),
)
DEFAULT_NEGATIVE_PROMPT = ", ".join(TERMS)
