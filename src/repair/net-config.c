/* net-config.c - reads interfaces(5), netplan(5), systemd.network(5), systemd.link(5),
 * nm-settings-keyfile(5) and ifcfg files for the network cards that they name.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/net-config.h"

#include <yaml.h>

#define MAX_CLAIMS 256

static void
claim_free (gpointer data)
{
  H2kNetClaim *claim = data;

  g_free (claim->name);
  g_free (claim->mac);
  g_free (claim->path);
  g_free (claim->driver);
  g_free (claim->bus);
  g_free (claim);
}

GPtrArray *
h2k_net_claims_new (void)
{
  return g_ptr_array_new_with_free_func (claim_free);
}

/* --- names ------------------------------------------------------------------------------------ */

/* Prefixes of what is no card, unless a card's naming scheme fits: "br0", but not "enp1s0". */
static const char *const virtual_prefixes[]
    = {"lo",   "br",   "vmbr",  "virbr", "docker", "veth", "vnet", "tun",  "tap", "wg", "ppp",
       "bond", "team", "dummy", "vlan",  "sit",    "gre",  "ipvl", "macv", "ib",  "wl"};

/* The kernel's, udev's and biosdevname's ways to name a card. */
static gboolean
is_scheme (const char *name)
{
  return g_regex_match_simple ("^(eth[0-9]+|en[opsx][a-z0-9]+|em[0-9]+|p[0-9]+p[0-9]+)$", name, 0,
                               0);
}

static gboolean
is_card (const char *name)
{
  if (is_scheme (name))
    return TRUE;
  if (!g_regex_match_simple ("^[A-Za-z0-9_-]{1,15}$", name, 0, 0))
    return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (virtual_prefixes); i++)
    if (g_str_has_prefix (name, virtual_prefixes[i]))
      return FALSE;
  return TRUE;
}

/* The card's part of "eth0:1" and "eth0.5"; NULL when it is no card. The caller's. */
static char *
card_of (const char *name)
{
  g_autofree char *base = g_strndup (name, strcspn (name, ":."));

  return *base && is_card (base) ? g_steal_pointer (&base) : NULL;
}

static H2kNetClaim *
add_claim (GPtrArray *claims, const char *path, const char *name, const char *mac)
{
  g_autofree char *card = name ? card_of (name) : NULL;
  g_autofree char *parsed = mac ? h2k_mac_parse (mac) : NULL;
  H2kNetClaim *claim;

  if ((!card && !parsed) || (name && !card) || claims->len >= MAX_CLAIMS)
    return NULL;
  claim = g_new0 (H2kNetClaim, 1);
  claim->name = g_steal_pointer (&card);
  claim->mac = g_steal_pointer (&parsed);
  claim->path = g_strdup (path);
  g_ptr_array_add (claims, claim);
  return claim;
}

/* DATA as a string without NULs: the formats here are text. */
static char *
to_text (GBytes *data)
{
  gsize size;
  const char *bytes = g_bytes_get_data (data, &size);
  char *text = g_strndup (bytes ? bytes : "", size);

  return text;
}

/* --- ifupdown --------------------------------------------------------------------------------- */

typedef struct
{
  GPtrArray *claims, *includes;
  const char *path;
  GHashTable *started; /* names in "auto" and "allow-hotplug" */
  GPtrArray *found;    /* names of stanzas that may be cards */
  char *name;          /* of the stanza; NULL: not in an iface stanza */
  gboolean is_virtual; /* the stanza describes something built on cards */
} Ifupdown;

static void
finish_stanza (Ifupdown *state)
{
  if (state->name && !state->is_virtual && state->found->len < MAX_CLAIMS)
    g_ptr_array_add (state->found, g_strdup (state->name));
  g_clear_pointer (&state->name, g_free);
  state->is_virtual = FALSE;
}

/* Options that list the cards below a bridge or bond: each of them is a claim. */
static gboolean
is_member_list (const char *option)
{
  static const char *const options[]
      = {"bridge_ports",    "bridge-ports",    "bond-slaves", "slaves",    "bond_slaves",
         "vlan-raw-device", "vlan_raw_device", "ovs_ports",   "bond-ports"};

  for (guint i = 0; i < G_N_ELEMENTS (options); i++)
    if (g_str_equal (option, options[i]))
      return TRUE;
  return FALSE;
}

static void
ifupdown_line (Ifupdown *state, GStrv words)
{
  static const char *const virtual_methods[] = {"loopback", "tunnel", "ppp", "wvdial", "6to4"};
  static const char *const others[]
      = {"auto", "mapping", "no-auto-down", "no-scripts", "template", "rename", NULL};
  guint n = g_strv_length (words);

  if (g_str_equal (words[0], "iface"))
    {
      finish_stanza (state);
      state->name = n > 1 ? g_strdup (words[1]) : NULL;
      for (guint i = 0; n > 3 && i < G_N_ELEMENTS (virtual_methods); i++)
        state->is_virtual |= g_str_equal (words[3], virtual_methods[i]);
      return;
    }
  if (g_str_equal (words[0], "source") || g_str_equal (words[0], "source-directory"))
    {
      gboolean directory = g_str_equal (words[0], "source-directory");
      finish_stanza (state);
      for (guint i = 1; i < n && state->includes->len < MAX_CLAIMS; i++)
        g_ptr_array_add (state->includes,
                         directory ? g_strconcat (words[i], "/*", NULL) : g_strdup (words[i]));
      return;
    }
  if (g_strv_contains (others, words[0]) || g_str_has_prefix (words[0], "allow-"))
    {
      finish_stanza (state);
      for (guint i = 1; i < n && (*words[0] == 'a'); i++)
        g_hash_table_add (state->started, g_strdup (words[i]));
      return;
    }
  if (!state->name || !is_member_list (words[0]))
    return;
  state->is_virtual = TRUE;
  for (guint i = 1; i < n; i++)
    if (!g_str_equal (words[i], "none") && !g_str_equal (words[i], "regex"))
      add_claim (state->claims, state->path, words[i], NULL);
}

void
h2k_net_parse_ifupdown (GPtrArray *claims, const char *path, GBytes *data, GPtrArray *includes)
{
  g_autofree char *text = to_text (data);
  g_autoptr (GRegex) joined = g_regex_new ("\\\\\r?\n", 0, 0, NULL);
  g_autofree char *whole = NULL;
  g_auto (GStrv) lines = NULL;
  g_autoptr (GHashTable) started = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GPtrArray) found = g_ptr_array_new_with_free_func (g_free);
  Ifupdown state
      = {.claims = claims, .includes = includes, .path = path, .started = started, .found = found};

  if (!g_utf8_validate (text, -1, NULL))
    {
      char *valid = g_utf8_make_valid (text, -1);
      g_free (text);
      text = valid;
    }
  whole = g_regex_replace_literal (joined, text, -1, 0, " ", 0, NULL);
  lines = g_strsplit (whole ? whole : "", "\n", -1);
  for (guint i = 0; lines[i]; i++)
    {
      char *line = g_strstrip (lines[i]);
      g_auto (GStrv) words = NULL;
      g_autoptr (GStrvBuilder) builder = g_strv_builder_new ();
      g_auto (GStrv) parts = NULL;

      if (!*line || *line == '#')
        continue;
      parts = g_strsplit_set (line, " \t", -1);
      for (guint j = 0; parts[j]; j++)
        if (*parts[j])
          g_strv_builder_add (builder, parts[j]);
      words = g_strv_builder_end (builder);
      ifupdown_line (&state, words);
    }
  finish_stanza (&state);
  /* A stanza with another name may be a choice of a mapping script and no interface. */
  for (guint i = 0; i < found->len; i++)
    {
      g_autofree char *card = card_of (found->pdata[i]);
      if (card && (is_scheme (card) || g_hash_table_contains (started, card)))
        add_claim (claims, path, card, NULL);
    }
}

/* --- netplan ---------------------------------------------------------------------------------- */

/* Where in the document an event stands: the mapping keys that lead to it. */
#define MAX_DEPTH 16

typedef struct
{
  GPtrArray *claims;
  const char *path;
  char *keys[MAX_DEPTH]; /* the key that each open mapping is at */
  gboolean is_key[MAX_DEPTH];
  gboolean is_map[MAX_DEPTH];
  int depth; /* open collections */
  /* the entry of ethernets that is read */
  char *match_name, *mac, *set_name, *driver;
  gboolean has_match;
} Netplan;

static void
finish_ethernet (Netplan *np)
{
  const char *id = np->keys[2];
  const char *name = np->set_name     ? np->set_name
                     : np->match_name ? np->match_name
                     : np->has_match  ? NULL
                                      : id;
  H2kNetClaim *claim = NULL;

  /* A pattern matches whatever the card is called. */
  if (name && strpbrk (name, "*?["))
    name = NULL;
  claim = add_claim (np->claims, np->path, name, np->mac);
  if (!claim && np->driver && np->claims->len < MAX_CLAIMS)
    {
      claim = g_new0 (H2kNetClaim, 1);
      claim->path = g_strdup (np->path);
      g_ptr_array_add (np->claims, claim);
    }
  if (claim)
    claim->driver = g_steal_pointer (&np->driver);
  g_clear_pointer (&np->match_name, g_free);
  g_clear_pointer (&np->mac, g_free);
  g_clear_pointer (&np->set_name, g_free);
  g_clear_pointer (&np->driver, g_free);
  np->has_match = FALSE;
}

/* Whether the keys down to the innermost mapping but one are network.ethernets.ID. */
static gboolean
in_ethernet (const Netplan *np, int depth)
{
  return np->depth == depth && g_strcmp0 (np->keys[0], "network") == 0
         && g_strcmp0 (np->keys[1], "ethernets") == 0 && np->keys[2];
}

static void
keep (char **where, const char *value)
{
  g_free (*where);
  *where = g_strdup (value);
}

static void
netplan_value (Netplan *np, const char *value)
{
  const char *key = np->depth > 0 ? np->keys[np->depth - 1] : NULL;

  if (!key)
    return;
  if (in_ethernet (np, 4) && g_str_equal (key, "set-name"))
    keep (&np->set_name, value);
  else if (in_ethernet (np, 5) && g_strcmp0 (np->keys[3], "match") == 0)
    {
      np->has_match = TRUE;
      if (g_str_equal (key, "name"))
        keep (&np->match_name, value);
      else if (g_str_equal (key, "macaddress"))
        keep (&np->mac, value);
      else if (g_str_equal (key, "driver"))
        keep (&np->driver, value);
    }
}

static void
netplan_scalar (Netplan *np, const char *value)
{
  int top = np->depth - 1;

  if (top < 0)
    return;
  if (np->is_map[top] && np->is_key[top])
    {
      keep (&np->keys[top], value);
      np->is_key[top] = FALSE;
      return;
    }
  netplan_value (np, value);
  np->is_key[top] = TRUE;
}

static gboolean
netplan_open (Netplan *np, gboolean map)
{
  if (np->depth == MAX_DEPTH)
    return FALSE;
  np->is_map[np->depth] = map;
  np->is_key[np->depth] = map;
  g_clear_pointer (&np->keys[np->depth], g_free);
  np->depth++;
  return TRUE;
}

static void
netplan_close (Netplan *np)
{
  int top = np->depth - 1;

  if (top < 0)
    return;
  if (in_ethernet (np, 4))
    finish_ethernet (np);
  g_clear_pointer (&np->keys[top], g_free);
  np->depth--;
  if (top > 0)
    np->is_key[top - 1] = np->is_map[top - 1];
}

/* FALSE at the document's end or where it cannot be read. */
static gboolean
netplan_event (Netplan *np, const yaml_event_t *event)
{
  switch (event->type)
    {
    case YAML_MAPPING_START_EVENT:
      return netplan_open (np, TRUE);
    case YAML_SEQUENCE_START_EVENT:
      return netplan_open (np, FALSE);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
      netplan_close (np);
      return TRUE;
    case YAML_SCALAR_EVENT:
      netplan_scalar (np, (const char *)event->data.scalar.value);
      return TRUE;
    case YAML_ALIAS_EVENT:
      netplan_scalar (np, "");
      return TRUE;
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
      return FALSE;
    default:
      return TRUE;
    }
}

void
h2k_net_parse_netplan (GPtrArray *claims, const char *path, GBytes *data)
{
  yaml_parser_t parser;
  Netplan np = {.claims = claims, .path = path};
  gboolean more = TRUE;
  gsize size;
  const guint8 *bytes = g_bytes_get_data (data, &size);

  if (!yaml_parser_initialize (&parser))
    return;
  yaml_parser_set_input_string (&parser, bytes ? bytes : (const guint8 *)"", size);
  while (more)
    {
      yaml_event_t event;
      if (!yaml_parser_parse (&parser, &event))
        break;
      more = netplan_event (&np, &event);
      yaml_event_delete (&event);
    }
  yaml_parser_delete (&parser);
  for (int i = 0; i < MAX_DEPTH; i++)
    g_free (np.keys[i]);
  g_free (np.match_name);
  g_free (np.mac);
  g_free (np.set_name);
  g_free (np.driver);
}

/* --- systemd ---------------------------------------------------------------------------------- */

/* The value of KEY in [SECTION], several joined by spaces as systemd does; NULL: none. */
static char *
unit_value (const char *text, const char *section, const char *key)
{
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
  g_autofree char *header = g_strdup_printf ("[%s]", section);
  g_autoptr (GString) value = NULL;
  gboolean inside = FALSE;

  for (guint i = 0; lines[i]; i++)
    {
      char *line = g_strstrip (lines[i]);
      char *equals = strchr (line, '=');

      if (*line == '[')
        inside = g_str_equal (line, header);
      if (!inside || !equals || *line == '#' || *line == ';')
        continue;
      *equals = '\0';
      if (!g_str_equal (g_strchomp (line), key))
        continue;
      if (!value)
        value = g_string_new (NULL);
      if (value->len)
        g_string_append_c (value, ' ');
      g_string_append (value, g_strstrip (equals + 1));
    }
  return value ? g_string_free (g_steal_pointer (&value), FALSE) : NULL;
}

/* The one MAC of TEXT; NULL when there are several or none. */
static char *
only_mac (const char *text)
{
  g_autofree char *copy = text ? g_strdup (text) : NULL;

  return copy ? h2k_mac_parse (g_strstrip (copy)) : NULL;
}

void
h2k_net_parse_networkd (GPtrArray *claims, const char *path, GBytes *data)
{
  g_autofree char *text = to_text (data);
  g_autofree char *names = unit_value (text, "Match", "Name");
  g_autofree char *macs = unit_value (text, "Match", "MACAddress");
  g_autofree char *driver = unit_value (text, "Match", "Driver");
  g_autofree char *bus = unit_value (text, "Match", "Path");
  g_autofree char *mac = only_mac (macs);
  g_auto (GStrv) words = g_strsplit_set (names ? names : "", " \t", -1);
  guint before = claims->len;

  for (guint i = 0; words[i]; i++)
    if (*words[i] && *words[i] != '!' && !strpbrk (words[i], "*?["))
      add_claim (claims, path, words[i], g_strv_length (words) == 1 ? mac : NULL);
  if (!names)
    add_claim (claims, path, NULL, mac);
  if (before == claims->len && (driver || bus) && claims->len < MAX_CLAIMS)
    {
      H2kNetClaim *claim = g_new0 (H2kNetClaim, 1);
      claim->path = g_strdup (path);
      g_ptr_array_add (claims, claim);
    }
  if (before < claims->len)
    {
      H2kNetClaim *claim = claims->pdata[before];
      claim->driver = g_steal_pointer (&driver);
      claim->bus = g_steal_pointer (&bus);
    }
}

void
h2k_net_parse_link (GPtrArray *claims, const char *path, GBytes *data)
{
  g_autofree char *text = to_text (data);
  g_autofree char *macs = unit_value (text, "Match", "MACAddress");
  g_autofree char *permanent = unit_value (text, "Match", "PermanentMACAddress");
  g_autofree char *name = unit_value (text, "Link", "Name");
  g_autofree char *mac = only_mac (macs ? macs : permanent);

  if (name && mac)
    add_claim (claims, path, name, mac);
}

/* --- NetworkManager --------------------------------------------------------------------------- */

void
h2k_net_parse_keyfile (GPtrArray *claims, const char *path, GBytes *data)
{
  g_autoptr (GKeyFile) file = g_key_file_new ();
  g_autofree char *type = NULL, *name = NULL, *mac = NULL;

  if (!g_key_file_load_from_bytes (file, data, G_KEY_FILE_NONE, NULL))
    return;
  type = g_key_file_get_string (file, "connection", "type", NULL);
  if (g_strcmp0 (type, "ethernet") != 0 && g_strcmp0 (type, "802-3-ethernet") != 0)
    return;
  name = g_key_file_get_string (file, "connection", "interface-name", NULL);
  mac = g_key_file_get_string (file, "ethernet", "mac-address", NULL);
  if (!mac)
    mac = g_key_file_get_string (file, "802-3-ethernet", "mac-address", NULL);
  add_claim (claims, path, name, mac);
}

/* --- ifcfg ------------------------------------------------------------------------------------ */

/* The value of KEY in a file of shell assignments; the last one counts. NULL: none or empty. */
static char *
shell_value (GStrv lines, const char *key)
{
  char *value = NULL;

  for (guint i = 0; lines[i]; i++)
    {
      g_auto (GStrv) words = NULL;
      gsize n = strlen (key);
      const char *line = lines[i] + strspn (lines[i], " \t");

      if (strncmp (line, key, n) != 0 || line[n] != '='
          || !g_shell_parse_argv (line + n + 1, NULL, &words, NULL) || !words[0])
        continue;
      g_free (value);
      value = *words[0] ? g_strdup (words[0]) : NULL;
    }
  return value;
}

static gboolean
is_backup (const char *base)
{
  static const char *const suffixes[]
      = {"~", ".bak", ".old", ".orig", ".rpmsave", ".rpmnew", ".rpmorig", ".swp", ".template"};

  for (guint i = 0; i < G_N_ELEMENTS (suffixes); i++)
    if (g_str_has_suffix (base, suffixes[i]))
      return TRUE;
  return FALSE;
}

void
h2k_net_parse_ifcfg (GPtrArray *claims, const char *path, GBytes *data)
{
  static const char *const built[]
      = {"Bridge", "Bond", "Vlan", "VLAN", "Team", "InfiniBand", "GRE", "IPIP", "Wireless"};
  static const char *const built_keys[]
      = {"BONDING_MASTER", "BRIDGE_PORTS", "ETHERDEVICE", "TUNNEL"};
  g_autofree char *text = to_text (data);
  g_autofree char *base = g_path_get_basename (path);
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
  g_autofree char *device = shell_value (lines, "DEVICE");
  g_autofree char *mac = shell_value (lines, "HWADDR");
  g_autofree char *type = shell_value (lines, "TYPE");
  const char *name = device;

  if (!g_str_has_prefix (base, "ifcfg-") || is_backup (base))
    return;
  for (guint i = 0; type && i < G_N_ELEMENTS (built); i++)
    if (g_str_equal (type, built[i]))
      return;
  for (guint i = 0; i < G_N_ELEMENTS (built_keys); i++)
    {
      g_autofree char *value = shell_value (lines, built_keys[i]);
      if (value && !g_str_equal (value, "no"))
        return;
    }
  if (!name && !mac)
    name = base + strlen ("ifcfg-");
  add_claim (claims, path, name, mac);
}
