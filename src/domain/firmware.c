/* firmware.c - finds the host's UEFI firmware.
 *
 * Follows QEMU's docs/interop/firmware.json: descriptor files are read in the order of their names,
 * one in /etc hides one of the same name in /usr/share.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "domain/firmware.h"

#include <json-glib/json-glib.h>

static const char *const descriptor_dirs[] = {"/etc/qemu/firmware", "/usr/share/qemu/firmware"};

/* For hosts without descriptors. */
static const struct
{
  const char *arch, *code, *vars;
} usual_places[] = {
    {"x86_64", "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
    {"x86_64", "/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
    {"x86_64", "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
    {"x86_64", "/usr/share/qemu/ovmf-x86_64-4m-code.bin",
     "/usr/share/qemu/ovmf-x86_64-4m-vars.bin"},
    {"x86_64", "/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
    {"aarch64", "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
    {"aarch64", "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
     "/usr/share/edk2/aarch64/vars-template-pflash.raw"},
    {"riscv64", "/usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd",
     "/usr/share/qemu-efi-riscv64/RISCV_VIRT_VARS.fd"},
};

void
h2k_uefi_files_free (H2kUefiFiles *files)
{
  if (files == NULL)
    return;
  g_free (files->code);
  g_free (files->vars);
  g_free (files);
}

static H2kUefiFiles *
files_if_present (const char *root, const char *code, const char *vars)
{
  g_autoptr (H2kUefiFiles) files = g_new0 (H2kUefiFiles, 1);

  files->code = g_strconcat (root, code, NULL);
  files->vars = g_strconcat (root, vars, NULL);
  if (!g_file_test (files->code, G_FILE_TEST_EXISTS)
      || !g_file_test (files->vars, G_FILE_TEST_EXISTS))
    return NULL;
  return g_steal_pointer (&files);
}

/* Members of a descriptor, NULL when it is not of the right shape. */
static JsonObject *
get_object (JsonObject *object, const char *name)
{
  JsonNode *node = object == NULL ? NULL : json_object_get_member (object, name);

  return node != NULL && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

static const char *
get_string (JsonObject *object, const char *name)
{
  JsonNode *node = object == NULL ? NULL : json_object_get_member (object, name);

  return node != NULL && json_node_get_value_type (node) == G_TYPE_STRING
             ? json_node_get_string (node)
             : NULL;
}

/* Whether array NAME has the string WORD; with MEMBER its elements are objects and their MEMBER is
 * compared. */
static gboolean
array_has (JsonObject *object, const char *name, const char *member, const char *word)
{
  JsonNode *node = json_object_get_member (object, name);
  JsonArray *array
      = node != NULL && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;

  for (guint i = 0; array != NULL && i < json_array_get_length (array); i++)
    {
      JsonNode *element = json_array_get_element (array, i);
      const char *text = NULL;

      if (member != NULL && JSON_NODE_HOLDS_OBJECT (element))
        text = get_string (json_node_get_object (element), member);
      else if (member == NULL && json_node_get_value_type (element) == G_TYPE_STRING)
        text = json_node_get_string (element);
      if (g_strcmp0 (text, word) == 0)
        return TRUE;
    }
  return FALSE;
}

/* Whether OBJECT, a descriptor, is of firmware with Secure Boot and keys, or (not SECURE) without.
 */
static gboolean
is_wanted (JsonObject *object, gboolean secure)
{
  if (secure)
    return array_has (object, "features", NULL, "secure-boot")
           && array_has (object, "features", NULL, "enrolled-keys");
  /* Enrolled keys refuse unsigned boot loaders; SMM needs machine options for no gain here. */
  return !array_has (object, "features", NULL, "enrolled-keys")
         && !array_has (object, "features", NULL, "requires-smm");
}

static H2kUefiFiles *
read_descriptor (const char *root, const char *path, const char *arch, gboolean secure)
{
  g_autoptr (JsonParser) parser = json_parser_new ();
  JsonNode *top
      = json_parser_load_from_file (parser, path, NULL) ? json_parser_get_root (parser) : NULL;
  JsonObject *object
      = top != NULL && JSON_NODE_HOLDS_OBJECT (top) ? json_node_get_object (top) : NULL;
  JsonObject *mapping = get_object (object, "mapping");
  const char *code = get_string (get_object (mapping, "executable"), "filename");
  const char *vars = get_string (get_object (mapping, "nvram-template"), "filename");

  if (code == NULL || vars == NULL || g_strcmp0 (get_string (mapping, "device"), "flash") != 0)
    return NULL;
  if (!array_has (object, "interface-types", NULL, "uefi")
      || !array_has (object, "targets", "architecture", arch))
    return NULL;
  return is_wanted (object, secure) ? files_if_present (root, code, vars) : NULL;
}

/* Names of descriptors, sorted, each with the path that wins. */
static GTree *
list_descriptors (const char *root)
{
  GTree *tree
      = g_tree_new_full ((GCompareDataFunc)(void (*) (void))g_strcmp0, NULL, g_free, g_free);

  for (gsize i = 0; i < G_N_ELEMENTS (descriptor_dirs); i++)
    {
      g_autofree char *path = g_strconcat (root, descriptor_dirs[i], NULL);
      g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
      const char *name;

      while (dir != NULL && (name = g_dir_read_name (dir)) != NULL)
        if (g_str_has_suffix (name, ".json") && g_tree_lookup (tree, name) == NULL)
          g_tree_insert (tree, g_strdup (name), g_build_filename (path, name, NULL));
    }
  return tree;
}

static H2kUefiFiles *
find_described (const char *root, const char *arch, gboolean secure)
{
  g_autoptr (GTree) descriptors = list_descriptors (root);
  H2kUefiFiles *files = NULL;

  for (GTreeNode *n = g_tree_node_first (descriptors); n != NULL && files == NULL;
       n = g_tree_node_next (n))
    files = read_descriptor (root, g_tree_node_value (n), arch, secure);
  return files;
}

H2kUefiFiles *
h2k_uefi_find_secure (const char *root, const char *arch)
{
  return find_described (root, arch, TRUE);
}

H2kUefiFiles *
h2k_uefi_find (const char *root, const char *arch, GError **error)
{
  H2kUefiFiles *files = find_described (root, arch, FALSE);

  for (gsize i = 0; files == NULL && i < G_N_ELEMENTS (usual_places); i++)
    if (strcmp (usual_places[i].arch, arch) == 0)
      files = files_if_present (root, usual_places[i].code, usual_places[i].vars);
  if (files == NULL)
    g_set_error (error, H2K_ERROR, H2K_ERROR_TOOL,
                 "the guest boots by UEFI, and no UEFI firmware for %s machines is installed on "
                 "this host; install the package %s",
                 arch,
                 strcmp (arch, "aarch64") == 0
                     ? "qemu-efi-aarch64 (Debian) or edk2-aarch64 (Fedora)"
                     : "ovmf (Debian) or edk2-ovmf (Fedora)");
  return files;
}
