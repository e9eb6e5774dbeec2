# What `cmake --install` puts where, and the .deb that cpack makes of it. Everything lies below the prefix
# (DESTDIR and --prefix as always); only where that ends in /usr, as in the .deb, /etc is beside it,
# and there are systemd units.
#
#   cmake --install build/release --prefix /opt/baton
#   (cd build/release && cpack)          build/release/baton_VERSION_ARCH.deb
include(GNUInstallDirs)
set(package ${CMAKE_SOURCE_DIR}/deploy/package)
set(systemd ${CMAKE_SOURCE_DIR}/deploy/systemd)
set(programs baton-coordinator baton-prefill baton-decode baton-colocated baton-bench baton-plan baton-ask
    baton-ctl)

install(TARGETS ${programs} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(PROGRAMS ${CMAKE_SOURCE_DIR}/deploy/wait-idle.sh ${CMAKE_SOURCE_DIR}/deploy/worker-ready.sh
        DESTINATION ${CMAKE_INSTALL_LIBEXECDIR}/baton)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/deploy/config DESTINATION ${CMAKE_INSTALL_DATADIR}/baton)
install(CODE [[
    set(beside "")
    if(CMAKE_INSTALL_PREFIX MATCHES "/usr$")
        set(beside "../")
    endif()]])
install(FILES ${package}/cluster.yaml DESTINATION "\${beside}etc/baton")
# Only there: the units name /etc/baton, and systemd finds their programs in /usr/bin.
install(CODE "
    if(beside)
        file(INSTALL \"${systemd}/baton-coordinator.service\" \"${systemd}/baton-worker@.service\"
             DESTINATION \"\${CMAKE_INSTALL_PREFIX}/lib/systemd/system\")
        file(INSTALL \"${systemd}/baton.sysusers\" DESTINATION \"\${CMAKE_INSTALL_PREFIX}/lib/sysusers.d\"
             RENAME baton.conf)
    endif()")

# Documents. Man pages are made of what the programs say of themselves.
find_program(BATON_PYTHON python3 DOC "makes the man pages")
find_program(BATON_GZIP gzip DOC "compresses the change log")
set(changelog ${package}/changelog)
file(STRINGS ${changelog} signed REGEX "^ -- ")
list(GET signed 0 signed)
string(REGEX REPLACE ".*, *([0-9]+ [A-Z][a-z]+ [0-9]+).*" "\\1" date "${signed}")
set(man ${CMAKE_BINARY_DIR}/man)
set(doc ${CMAKE_INSTALL_DATADIR}/doc/baton)
if(BATON_PYTHON AND BATON_GZIP AND NOT BATON_SANITIZE)
    file(GLOB man_parts CONFIGURE_DEPENDS ${package}/man/*)
    add_custom_command(
        OUTPUT ${man}.stamp
        COMMAND ${BATON_PYTHON} ${package}/man.py --bin ${CMAKE_BINARY_DIR}/bin --out ${man} --version
                ${PROJECT_VERSION} --date ${date}
        COMMAND ${BATON_GZIP} -9nc ${changelog} > ${CMAKE_BINARY_DIR}/changelog.gz
        COMMAND ${CMAKE_COMMAND} -E touch ${man}.stamp
        DEPENDS ${programs} ${package}/man.py ${man_parts} ${changelog}
                ${CMAKE_SOURCE_DIR}/deploy/config/local.yaml
        VERBATIM)
    add_custom_target(man ALL DEPENDS ${man}.stamp)
    install(DIRECTORY ${man}/ DESTINATION ${CMAKE_INSTALL_MANDIR})
    install(FILES ${CMAKE_BINARY_DIR}/changelog.gz DESTINATION ${doc})
else()
    message(STATUS "Man pages: OFF (python3 and gzip make them, from programs without sanitizers)")
endif()
install(FILES ${package}/copyright ${CMAKE_SOURCE_DIR}/README.md DESTINATION ${doc})
install(FILES ${CMAKE_SOURCE_DIR}/examples/ask.c ${CMAKE_SOURCE_DIR}/examples/ask.py
              ${CMAKE_SOURCE_DIR}/proto/client.proto DESTINATION ${doc}/examples)

# The .deb.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME baton)
set(CPACK_PACKAGE_VENDOR Baton)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
# 0755 for folders, whatever the builder's umask is.
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE
    WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "Baton maintainers <maintainers@baton.invalid>")
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "systemd | systemd-standalone-sysusers")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "openmpi-bin")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"server of language models, prefill and decode apart
Baton serves large language models with prefill and decode in separate
processes, on separate devices. A coordinator routes requests; prefill workers
process prompts; the KV cache is handed over to decode workers, layer group by
layer group. It answers OpenAI's HTTP API.

The package has the coordinator, the workers, a load generator, a planner of
placements, systemd units that are not started by themselves, and an example
configuration.")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${package}/conffiles ${package}/postinst ${package}/prerm
    ${package}/postrm)
include(CPack)
