"""Why a network says what it says: which inputs its score of a class rests on."""
