# shellcheck shell=bash
# The source tree, for the scripts that build packages of it or copy it. They source this file; it is not run by itself.
#
#   root        the tree's folder
#   version     Megaphone's version
#   fail        says why, and ends the script
#   copy_tree   copies the tree
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck disable=SC2034
version=$(sed -n 's/.*{vsn, *"\([^"]*\)".*/\1/p' "$root/erlang/src/megaphone.app.src")

fail() {
    printf 'megaphone: %s\n' "$*" >&2
    exit 1
}

# source_time: when the sources were last changed, in seconds since 1970. What is built of them says that it was made then.
source_time() {
    if [ -n "${SOURCE_DATE_EPOCH:-}" ]; then
        printf '%s\n' "$SOURCE_DATE_EPOCH"
    elif in_git; then
        git -C "$root" log -1 --format=%ct
    else
        date +%s
    fi
}

# copy_tree FOLDER: into a folder that it makes.
copy_tree() {
    mkdir -p "$1"
    source_files | tar -C "$root" --null -T - -c | tar -C "$1" -x
}

# What git knows, or would take, as it stands here. An archive of the sources has no git; there it is all that was not built.
source_files() {
    if in_git; then
        git -C "$root" ls-files -z --cached --others --exclude-standard |
            while IFS= read -r -d '' file; do
                # Not one that was deleted and not yet committed.
                [ ! -e "$root/$file" ] || printf '%s\0' "$file"
            done
    else
        (cd "$root" && find . \( -path ./_build -o -path ./_run -o -path ./target -o -path ./erlang/priv -o -path ./test/clients/venv \
            -o -name node_modules -o -name __pycache__ \) -prune -o -type f -print0)
    fi
}

# Whether it is a repository of its own, rather than a folder in another one.
in_git() { [ "$(git -C "$root" rev-parse --show-toplevel 2>/dev/null)" = "$root" ]; }
