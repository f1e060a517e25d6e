/* net-config.h - which network cards a guest's configuration is about: names and MACs.
 *
 * Each parser adds a claim for every physical Ethernet card that a file names; what is built on
 * top of cards (bridges, bonds, VLANs, tunnels) is passed over, the cards below it are not. A
 * VLAN "eth0.5" is a claim for "eth0". The parsers take any bytes and never fail: what cannot be
 * understood claims nothing.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

typedef struct
{
  char *name;   /* the interface's name; NULL: only known by its MAC */
  char *mac;    /* lower case; NULL: not said */
  char *path;   /* the file that says so */
  char *driver; /* the kernel driver that the file matches by; NULL: none */
  char *bus;    /* a path or slot that the file matches by; NULL: none */
} H2kNetClaim;

/* An array that frees its claims. */
GPtrArray *h2k_net_claims_new (void);

/* interfaces(5). INCLUDES (char *) gets the arguments of source and source-directory. */
void h2k_net_parse_ifupdown (GPtrArray *claims, const char *path, GBytes *data,
                             GPtrArray *includes);
/* netplan(5): network.ethernets of a YAML document. */
void h2k_net_parse_netplan (GPtrArray *claims, const char *path, GBytes *data);
/* systemd.network(5): [Match] of a .network file. */
void h2k_net_parse_networkd (GPtrArray *claims, const char *path, GBytes *data);
/* systemd.link(5): [Match] MACAddress with [Link] Name of a .link file. */
void h2k_net_parse_link (GPtrArray *claims, const char *path, GBytes *data);
/* nm-settings-keyfile(5). */
void h2k_net_parse_keyfile (GPtrArray *claims, const char *path, GBytes *data);
/* Red Hat's and SUSE's ifcfg-NAME. */
void h2k_net_parse_ifcfg (GPtrArray *claims, const char *path, GBytes *data);
