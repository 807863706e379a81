/* json_tool [PATH]...: standard input is one JSON document; prints what the members PATH ("a.b.0") hold, a line each. */
#include <cjson/cJSON.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const cJSON *find(const cJSON *item, char *path)
{
    char *rest = NULL;
    for (const char *name = strtok_r(path, ".", &rest); name && item; name = strtok_r(NULL, ".", &rest))
        item = cJSON_IsArray(item) ? cJSON_GetArrayItem(item, atoi(name)) : cJSON_GetObjectItemCaseSensitive(item, name);
    return item;
}

int main(int argc, char **argv)
{
    static char text[1 << 20];
    const char *end = NULL;
    size_t size = fread(text, 1, sizeof text - 1, stdin);
    (void)setlocale(LC_ALL, "C.UTF-8");
    if (mbstowcs(NULL, text, 0) == (size_t)-1) {
        (void)fprintf(stderr, "json_tool: this is not UTF-8\n");
        return 1;
    }
    cJSON *root = cJSON_ParseWithLengthOpts(text, size, &end, 0);
    if (!root || strspn(end, " \n") != strlen(end)) {
        (void)fprintf(stderr, "json_tool: this is no JSON document: %.200s\n", text);
        return 1;
    }
    for (int i = 1; i < argc; i++) {
        const cJSON *item = find(root, argv[i]);
        char *printed = item && !cJSON_IsString(item) ? cJSON_PrintUnformatted(item) : NULL;
        (void)printf("%s\n", !item ? "" : printed ? printed : item->valuestring);
        cJSON_free(printed);
    }
    cJSON_Delete(root);
    return 0;
}
