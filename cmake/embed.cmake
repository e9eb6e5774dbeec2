# Makes C of files: cmake -DFILES="a.html;b.js" -DPREFIX=live_ -DOUTPUT=x.c -P embed.cmake
# page.html becomes live_page_html[] and live_page_html_len.
set(text "#include <stddef.h>\n")
foreach(file ${FILES})
    get_filename_component(name ${file} NAME)
    string(MAKE_C_IDENTIFIER "${PREFIX}${name}" name)
    file(READ ${file} bytes HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
    string(APPEND text "extern const unsigned char ${name}[];\nextern const size_t ${name}_len;\n"
                       "const unsigned char ${name}[] = {${bytes}0};\n"
                       "const size_t ${name}_len = sizeof ${name} - 1;\n")
endforeach()
file(WRITE ${OUTPUT} "${text}")
