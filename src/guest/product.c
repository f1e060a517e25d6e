/* product.c - finds products in the list of installed packages.
 *
 * dpkg's status file: paragraphs of "Name: value" (Debian policy, 5.1), separated by empty lines.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/product.h"

#define MAX_STATUS (64u << 20)

/* The package that makes a Debian into the product has its version. */
static const struct
{
  const char *package, *name, *id;
} products[] = {
    {"pve-manager", "Proxmox VE", "proxmox-ve"},
    {"proxmox-backup-server", "Proxmox Backup Server", "proxmox-backup-server"},
    {"pmg-api", "Proxmox Mail Gateway", "proxmox-mail-gateway"},
    {"openmediavault", "openmediavault", "openmediavault"},
};

void
h2k_product_free (H2kProduct *product)
{
  if (!product)
    return;
  g_free (product->version);
  g_free (product);
}

/* The value of the field NAME in the paragraph TEXT, which ends at END; NULL: it has none. */
static char *
field (const char *text, const char *end, const char *name)
{
  gsize length = strlen (name);

  while (text < end)
    {
      const char *stop = memchr (text, '\n', (gsize)(end - text));
      stop = stop ? stop : end;
      if ((gsize)(stop - text) > length && text[length] == ':' && memcmp (text, name, length) == 0)
        return g_strstrip (g_strndup (text + length + 1, (gsize)(stop - text) - length - 1));
      text = stop + 1;
    }
  return NULL;
}

/* The version of PACKAGE in the status file TEXT, if it is installed. */
static char *
installed_version (const char *text, const char *end, const char *package)
{
  g_autofree char *start = g_strdup_printf ("Package: %s\n", package);
  const char *at = text;

  while ((at = memmem (at, (gsize)(end - at), start, strlen (start))))
    {
      const char *stop = memmem (at, (gsize)(end - at), "\n\n", 2);
      g_autofree char *status = field (at, stop ? stop : end, "Status");
      if ((at == text || at[-1] == '\n') && status && g_str_has_suffix (status, " installed"))
        return field (at, stop ? stop : end, "Version");
      at += strlen (start);
    }
  return NULL;
}

H2kProduct *
h2k_guest_product (H2kGuest *guest)
{
  g_autoptr (GBytes) data = NULL;
  const char *text;
  gsize length;

  if (guest->windows)
    return NULL;
  data = h2k_tree_read_optional (guest->tree, "/var/lib/dpkg/status", MAX_STATUS, NULL);
  if (!data)
    return NULL;
  text = g_bytes_get_data (data, &length);
  for (gsize i = 0; text && i < G_N_ELEMENTS (products); i++)
    {
      char *version = installed_version (text, text + length, products[i].package);
      H2kProduct *product;
      if (!version)
        continue;
      product = g_new0 (H2kProduct, 1);
      product->name = products[i].name;
      product->id = products[i].id;
      product->version = version;
      return product;
    }
  return NULL;
}
