"""Who may do what.

``authorization``   the decision.
``actions``         the actions that a policy can speak of.
``condition_keys``  the condition keys that there are, and their values in a request.
``object_tags``     the tags of an object, where a policy asks for them.
``bucket_policy``   bucket policies: validated when they are put, and as they are evaluated.
``public_policies`` whether a bucket policy is public.
``accounts``        how an account is named in answers.
``cors``            what a bucket allows pages of other origins.
"""
