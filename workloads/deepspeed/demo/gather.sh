#!/bin/sh
# Picks plain text and its licences out of unpacked packages: gather.sh <usr/share> <target>
set -eu
share=$1
target=$2
mkdir -p "$target/manuals" "$target/git" "$target/licences"
for name in debian-reference.en policy developers-reference debian-faq.en; do
    find "$share" -name "$name.txt.gz" -exec gzip -dc {} + > "$target/manuals/$name.txt"
    test -s "$target/manuals/$name.txt"
done
find "$share/doc/git-doc" -maxdepth 1 -name '*.txt' -exec cp -L {} "$target/git/" \;
test "$(find "$target/git" -type f | wc -l)" -gt 100
for package in debian-reference-en debian-policy developers-reference debian-faq git-doc; do
    found=$(find "$share/doc/$package" "$share/doc/$package-common" -name copyright 2>/dev/null | head -n 1)
    if [ -n "$found" ]; then cp -L "$found" "$target/licences/$package"; fi
done
