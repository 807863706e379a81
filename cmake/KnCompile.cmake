# Compiler settings that every target of this project shares. A target opts in with kn_target(NAME).

set(KN_WARNINGS -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
                -Wpointer-arith -Wwrite-strings -Wformat=2 -Wundef)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)

function(kn_target name)
  target_compile_definitions(${name} PRIVATE _GNU_SOURCE KN_VERSION="${PROJECT_VERSION}")
  target_compile_options(${name} PRIVATE ${KN_WARNINGS} -fstack-protector-strong
                                         -ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)
  if(KN_WERROR)
    target_compile_options(${name} PRIVATE -Werror)
  endif()
  if(KN_SANITIZE)
    target_compile_options(${name} PRIVATE -fsanitize=${KN_SANITIZE} -fno-omit-frame-pointer
                                           -fno-sanitize-recover=all)
    target_link_options(${name} PRIVATE -fsanitize=${KN_SANITIZE})
  elseif(NOT CMAKE_BUILD_TYPE STREQUAL Debug)
    target_compile_options(${name} PRIVATE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  endif()
  get_target_property(type ${name} TYPE)
  if(NOT type MATCHES "STATIC_LIBRARY|OBJECT_LIBRARY")
    target_link_options(${name} PRIVATE -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack)
  endif()
  if(type MATCHES "SHARED_LIBRARY|MODULE_LIBRARY" AND NOT KN_SANITIZE)
    target_link_options(${name} PRIVATE -Wl,-z,defs)
  endif()
endfunction()

# Exported symbols are exactly those of the map file: exported symbols = documented symbols.
function(kn_version_script name map)
  target_link_options(${name} PRIVATE "-Wl,--version-script=${map}")
  set_property(TARGET ${name} APPEND PROPERTY LINK_DEPENDS ${map})
endfunction()
