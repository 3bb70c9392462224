#!/bin/bash
# Builds two archives that are the same bytes wherever and whenever they are built from the same sources, by the same
# compilers: the ECM, and the application for ejabberd with its NIF. With them: what they were built with, in the form of
# CycloneDX, and checksums.
#
#   tarball.sh FOLDER     puts them there
#
# TARBALL_BUILD is the folder where they are built, _build/tarball by default.
set -euo pipefail
folder=$1
# shellcheck source=packaging/source.sh
. "$(dirname "$0")/source.sh"
cd "$root"

build=${TARBALL_BUILD:-$root/_build/tarball}
mkdir -p "$build" "$folder"
build=$(cd "$build" && pwd)
folder=$(cd "$folder" && pwd)
target=$(rustc -vV | sed -n 's/^host: //p')
otp=$(erl -noinput -eval 'io:put_chars(erlang:system_info(otp_release)), halt().')
time=$(source_time)

rm -rf "$build/src" "$build/out"
mkdir -p "$build/out"
copy_tree "$build/src"

# No path of this machine goes into what is built, neither Rust's nor that of the C in its crates.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
map="$build/src=/megaphone $cargo_home=/cargo $(rustc --print sysroot)=/rust"
rust_flags=() c_flags=()
for pair in $map; do
    rust_flags+=("--remap-path-prefix=$pair")
    c_flags+=("-ffile-prefix-map=$pair")
done
echo "building the archives of $version"
log=$build/build.log
(
    cd "$build/src"
    export CARGO_TARGET_DIR=$build/src/target RUSTFLAGS="${rust_flags[*]} -C strip=symbols" CFLAGS="${c_flags[*]}"
    export ERL_COMPILER_OPTIONS='[deterministic]' SOURCE_DATE_EPOCH=$time
    make --no-print-directory build
) >"$log" 2>&1 || { tail -n 40 "$log" >&2; fail "the build failed; $log has all of it"; }

# pack NAME: makes an archive of the folder NAME, in which nothing says who made it and when.
pack() {
    tar -C "$build/out" --sort=name --format=ustar --mtime="@$time" --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX \
        -c "$1" | gzip -9 -n >"$folder/$1.tar.gz"
}

ecm=megaphone-ecm-$version-$target
at=$build/out/$ecm
install -D -m 755 "$build/src/target/release/megaphone-ecm" "$at/bin/megaphone-ecm"
install -D -m 644 native/ecm/ecm.toml "$at/etc/megaphone/ecm.toml"
install -D -m 644 packaging/debian/megaphone-ecm.service "$at/lib/systemd/system/megaphone-ecm.service"
install -D -m 644 doc/man/megaphone-ecm.8 "$at/share/man/man8/megaphone-ecm.8"
install -D -m 644 doc/man/ecm.toml.5 "$at/share/man/man5/ecm.toml.5"
install -m 644 LICENSE README.md CHANGELOG.md "$at"
python3 packaging/sbom.py megaphone-ecm "$version" >"$at/sbom.cdx.json"
pack "$ecm"

application=ejabberd-mod-megaphone-$version-otp$otp-$target
at=$build/out/$application
mkdir -p "$at/megaphone-$version"/{ebin,priv}
install -m 644 "$build"/src/_build/default/lib/megaphone/ebin/* "$at/megaphone-$version/ebin"
install -m 644 "$build/src/_build/default/lib/megaphone/priv/megaphone_nif.so" "$at/megaphone-$version/priv"
install -m 644 packaging/ejabberd.yml "$at/megaphone.yml"
install -m 644 LICENSE README.md CHANGELOG.md "$at"
python3 packaging/sbom.py megaphone-nif "$version" "erlang-otp=$otp" >"$at/sbom.cdx.json"
pack "$application"

cd "$folder"
sha256sum "$ecm.tar.gz" "$application.tar.gz" >SHA256SUMS
cat SHA256SUMS
