"""Rewriting by mathematical property: rules are equations, generated from what is known of functions.

DNNFusion (Niu et al., PLDI 2021), section 4.2: associative, distributive and commutative rules, applied where they
save work.
"""
