#!/usr/bin/env bash
# Prose wraps at 100 columns: comments of Rust files, and documents but for their tables. A line that
# is one link or one word cannot be broken, and is let pass; so is what programs wrote, between the
# markers of docs/benchmarks.
set -euo pipefail
cd "$(dirname "$0")/.."

git ls-files -z -- '*.rs' '*.md' | xargs -0 perl -CSD -ne '
    chomp;
    $written = 1 if /^<!-- begin /;
    $written = 0 if /^<!-- end /;
    if (length > 100 && !$written) {
        my $comment = m{^\s*//};
        # Sentences of compile errors are one to a line, as the compiler says them.
        my $said = $ARGV =~ m{^tests/ui/} && m{^// says: };
        my $prose = $ARGV =~ /\.md$/ ? !/^\|/ : $comment && !$said && !m{^\s*//[/!]? \|.*\|$};
        (my $text = $_) =~ s{^\s*(//[/!]?|[-*]|\d+\.)?\s*}{};
        my $breaks = $text =~ / / && $text !~ m{^\[[^\]]*\](\(\S*\)|: \S*)[.,;]?$};
        if ($prose && $breaks) { print "$ARGV:$.: ", length, " columns\n"; $wide++ }
    }
    close ARGV if eof;
    END { if ($wide) { print STDERR "check-width.sh: prose wraps at 100 columns\n"; exit 1 } }
'
