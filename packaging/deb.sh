#!/bin/bash
# Builds ejabberd-mod-megaphone and megaphone-ecm for the Debian that this runs on, and checks them with lintian.
#
#   deb.sh FOLDER     puts the packages there
#
# DEB_REVISION is what follows Megaphone's own version, 1 by default.
set -euo pipefail
folder=$1
# shellcheck source=packaging/source.sh
. "$(dirname "$0")/source.sh"
cd "$root"

# shellcheck source=/dev/null
release=$(. /etc/os-release && printf '%s' "${ID:-}${VERSION_ID:-}")
case $release in
    debian*) ;;
    *) fail "packages are built on Debian, which this is not ($release)" ;;
esac
# 0.1.0-1~debian12 is older than the same of debian13, so that an upgrade of Debian upgrades it.
package_version=$version-${DEB_REVISION:-1}~$release
time=$(source_time)

# The same folder each time: what Cargo has built belongs to it.
build=_build/deb/source
rm -rf _build/deb
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
copy_tree "$build"
cp -r packaging/debian "$build/debian"
cat >"$build/debian/changelog" <<END
megaphone ($package_version) unstable; urgency=medium

  * Megaphone $version; CHANGELOG.md says what is new.

 -- Megaphone developers <megaphone@localhost>  $(LC_ALL=C date -u -R -d "@$time")
END
cd "$build"
log=$root/_build/deb/build.log
echo "building the packages $package_version"
SOURCE_DATE_EPOCH=$time DEB_BUILD_OPTIONS="noautodbgsym ${DEB_BUILD_OPTIONS:-}" CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target} \
    dpkg-buildpackage --build=binary --no-sign >"$log" 2>&1 || { tail -n 40 "$log" >&2; fail "dpkg-buildpackage failed; $log has all of it"; }
cd ..
lintian --allow-root --fail-on error --suppress-tags-from-file "$root/packaging/lintian" ./*.changes || fail "lintian has errors, above"
cp ./*.deb "$folder"
for package in ./*.deb; do
    printf '%s\n' "$folder/$(basename "$package")"
done
