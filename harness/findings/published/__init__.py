"""Result files of the published study, as a report, and what they cannot support."""
