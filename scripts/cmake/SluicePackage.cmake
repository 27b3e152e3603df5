# The Debian package: `cmake --build build --target package`. Depends on what the programs link, by dpkg-shlibdeps.
install(FILES scripts/systemd/sluice-agent.service scripts/systemd/sluice-control.service
        scripts/systemd/sluice-kubelet.service DESTINATION /usr/lib/systemd/system)
# What `sluice join` and `sluice up` run, with the images and examples that these use.
install(PROGRAMS scripts/up scripts/down DESTINATION share/sluice/scripts)
install(FILES scripts/lib.sh scripts/node.sh scripts/containerd.sh DESTINATION share/sluice/scripts)
install(PROGRAMS scripts/images/build.py DESTINATION share/sluice/scripts/images)
install(FILES scripts/images/pause.c scripts/images/serve.sh DESTINATION share/sluice/scripts/images)
install(DIRECTORY docs/examples DESTINATION share/sluice/docs)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME sluice)
set(CPACK_PACKAGE_CONTACT "Sluice maintainers <maintainers@sluice.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Service dataplane for Kubernetes nodes, with a small control plane")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
# For the scripts; gcc makes the image of pause; tzdata is for time zones in expressions of policies.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS
  "busybox, containerd, crun, curl, gcc, iproute2, jq, kubernetes-client, libc6-dev, openssl, procps, python3, tzdata")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
include(CPack)
