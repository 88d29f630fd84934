/* Identity I moves from group O to group P (owner change) while P or O (flag FO) is being offboarded (fence, list, fence members).
 flags: LOOKFIRST  look at both fences, then write member(P), META.owner, delete member(O)      (as written, reading 1)
        WTL        write member(P), look at both fences, META.owner:=P, delete member(O)       (write-then-look)
        default (fix): one transaction with condition checks on both group fences
        FILTER     planner fences a listed identity only if META.owner is the group (one conditional write), else fences whatever is listed
   Code: functions/store/identities.ts (declareIdentity, changeIdentity), plan/plan.ts (reach, isReached).
   Runs:
     holds
     breaks -DLOOKFIRST
     breaks -DWTL
     holds -DCR=2
     holds -DFO
*/
#ifndef CR
#define CR 1
#endif
byte crashes=CR;
bit fP; bit fO; bit mP; bit mO=1; byte owner=0; /* 0=O 1=P */ bit F; bit acked; bit foAtAck; bit dead_;
#define CRASH if :: crashes>0 -> crashes--; printf("   crash\n"); goto dead :: true fi
proctype Move() { bit c;
#ifdef LOOKFIRST
 atomic { c=fP||fO; printf("M looks %d\n",c); CRASH }; if :: c -> goto dead :: else fi;
 atomic { mP=1; printf("M member(P)\n"); CRASH };
 atomic { owner=1; printf("M owner=P\n"); CRASH };
 atomic { mO=0; CRASH }; acked=1; printf("M ack\n");
#else
#ifdef WTL
 atomic { mP=1; printf("M member(P)\n"); CRASH };
 atomic { c=fP||fO; printf("M looks %d\n",c); CRASH }; if :: c -> atomic { mP=0 }; goto dead :: else fi;
 atomic { if :: !F -> owner=1; printf("M owner=P\n") :: else -> mP=0; goto dead fi; CRASH };
 atomic { mO=0; CRASH }; acked=1; printf("M ack\n");
#else
 atomic { if :: !fP && !fO -> mP=1; mO=0; owner=1; acked=1; printf("M moved (tx)\n") :: else -> printf("M refused\n") fi; CRASH };
#endif
#endif
dead: skip
}
proctype Off() { bit m; byte w;
again:
#ifdef FO
 atomic { fO=1; printf("O fenced\n"); CRASH };
 atomic { m=mO; printf("list O: %d\n",m); CRASH }; w=0;
#else
 atomic { fP=1; printf("P fenced\n"); CRASH };
 atomic { m=mP; printf("list P: %d\n",m); CRASH }; w=1;
#endif
 if :: m ->
#ifdef FILTER
  atomic { if :: owner==w -> F=1; printf("I fenced\n") :: else -> printf("I skipped, owner is another\n") fi; CRASH }
#else
  atomic { F=1; printf("I fenced\n"); CRASH }
#endif
 :: else fi; goto fin;
dead: goto again;
fin: skip
}
init { atomic { run Move(); run Off() }
 timeout; printf("end owner %d F %d acked %d fP %d fO %d\n",owner,F,acked,fP,fO);
#ifdef FO
 assert(!(owner==0) || F);     /* still O's: must be fenced */
#else
 assert(!(owner==1) || F);     /* P's: must be fenced */
 assert(!(owner==0) || !F);    /* never P's: must not be touched (G2) */
#endif
}
